import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import react from '@vitejs/plugin-react'
import type { Plugin } from 'vite'
import { defineConfig } from 'vitest/config'

/** What the first page may weigh, gzip, all files together. */
const BUDGET_BYTES = 150_000

/** Fails a build that has grown over its budget. */
function budget(): Plugin {
  return {
    name: 'budget',
    apply: 'build',
    writeBundle(_, bundle) {
      const parts = Object.values(bundle).map((file) => (file.type === 'chunk' ? file.code : file.source))
      const bytes = parts.reduce((sum, part) => sum + gzipSync(part).length, 0)
      if (bytes > BUDGET_BYTES) this.error(`the first page weighs ${bytes} bytes gzip, more than ${BUDGET_BYTES}`)
    },
  }
}

export default defineConfig({
  // Works below any mount path: every address in the page is relative to the page.
  base: './',
  plugins: [react(), budget()],
  build: {
    outDir: fileURLToPath(new URL('../../../src/runstate/server/dashboard/', import.meta.url)),
    emptyOutDir: true,
    target: 'es2023',
    // No data: URIs and no inline script: the page runs under `default-src 'self'`.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { '/api': { target: process.env.RUNSTATE_URL ?? 'http://127.0.0.1:8642', ws: true } } },
  test: { name: 'dashboard', environment: 'happy-dom', include: ['test/**/*.test.{ts,tsx}'] },
})
