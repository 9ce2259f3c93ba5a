/** What a page pays for the client: bundled and minified as a page would, compressed as a server would. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { build } from 'vite'
import { expect, test } from 'vitest'

const PACKAGE = new URL('../', import.meta.url)

test('stays below the size that the README promises', { timeout: 60_000 }, async () => {
  const [, promised] =
    /At most \*\*([\d.]+) kB\*\* gzipped/.exec(readFileSync(new URL('README.md', PACKAGE), 'utf8')) ?? []
  const input = fileURLToPath(new URL('src/index.ts', PACKAGE))
  const rolldownOptions = { input, preserveEntrySignatures: 'strict' as const }
  const built = await build({ configFile: false, logLevel: 'silent', build: { write: false, rolldownOptions } })

  const chunks = [built].flat().flatMap((one) => ('output' in one ? one.output : []))
  const code = chunks.map((chunk) => (chunk.type === 'chunk' ? chunk.code : '')).join('')
  const kilobytes = gzipSync(code).length / 1000
  expect(code, 'the whole client is in it').toContain('idempotency-key')
  expect(kilobytes).toBeLessThanOrEqual(Number(promised))
  expect(kilobytes, 'the promise is not loose').toBeGreaterThan(Number(promised) * 0.8)
})
