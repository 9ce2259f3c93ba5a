import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

export default defineConfig({
  plugins: [react()],
  // The page and the API share an origin, as they do in production.
  server: { proxy: { '/api': { target: process.env.RUNSTATE_URL ?? 'http://127.0.0.1:8642', ws: true } } },
})
