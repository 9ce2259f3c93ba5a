import { defineConfig } from 'vitest/config'

// The real servers are started by tests/client/test_typescript.py and tests/proxies/test_clients.py.
export default defineConfig({
  test: { name: 'real', environment: 'node', include: ['test/real-server.ts', 'test/hostile-proxies.ts'] },
})
