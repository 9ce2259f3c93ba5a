// @vitest-environment node
import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const source = new URL('../src/', import.meta.url)
const hooks = readdirSync(source).filter((name) => name.startsWith('use-'))

test.each(hooks)('%s stays a thin skin: 60 lines at most', (name) => {
  expect(readFileSync(new URL(name, source), 'utf8').split('\n').length - 1).toBeLessThanOrEqual(60)
})
