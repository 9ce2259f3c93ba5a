import { defineConfig } from 'vitest/config'

// The real server is started by tests/client/test_typescript.py.
export default defineConfig({ test: { name: 'real', environment: 'node', include: ['test/real-server.ts'] } })
