/** TypeScript obeys every case of conformance/, the same that Python obeys, and no case lies there unrun. */
import { readdirSync, readFileSync } from 'node:fs'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, test } from 'vitest'
import { RUNNERS } from './runners.ts'

const ROOT = new URL('../../../../conformance/', import.meta.url)

interface Case {
  readonly id: string
  readonly description: string
  readonly rule: string
  readonly input: Readonly<Record<string, unknown>>
  readonly expect: Readonly<Record<string, unknown>>
}

function read(path: string): unknown {
  return JSON.parse(readFileSync(new URL(path, ROOT), 'utf8'))
}

const files = readdirSync(ROOT, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .flatMap(({ name }) => readdirSync(new URL(`${name}/`, ROOT)).map((file) => [name, `${name}/${file}`] as const))
  .filter(([, path]) => path.endsWith('.json'))
const isValid = new Ajv2020({ allowUnionTypes: true }).compile(read('case.schema.json') as object)

test('every folder is run, as in Python', () => {
  expect([...new Set(files.map(([folder]) => folder))].sort()).toEqual(Object.keys(RUNNERS).sort())
})

describe.each(files)('%s: %s', (folder, path) => {
  const cases = read(path) as readonly Case[]

  test('has the form of case.schema.json', () => {
    isValid(cases)
    expect(isValid.errors ?? []).toEqual([])
  })

  const run = RUNNERS[folder]
  if (run === undefined) return
  test.for(cases)('$id', ({ input, expect: expected }) => {
    expect(run(input, expected)).toStrictEqual(expected)
  })
})
