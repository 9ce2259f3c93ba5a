import { ProblemError } from '@runstate/client'
import { describe, expect, test } from 'vitest'
import { EPOCH, entry, fakeClient, run } from '../../../packages/react/test/fake-client.ts'
import { paced } from '../src/store/paced.ts'
import { createVersions } from '../src/store/versions.ts'

describe('a paced client', () => {
  function world() {
    const client = fakeClient()
    let now = 0
    let due: (() => void) | null = null
    const page = paced(client, 60, {
      now: () => now,
      later: (call) => {
        due = call
      },
    })
    const seen: (string | null)[] = []
    page.subscribe(() => seen.push(page.getView().position))
    const pass = (ms: number) => {
      now += ms
      const call = due
      due = null
      call?.()
    }
    return { client, page, seen, pass }
  }

  test('shows the first change at once and the last one always, and no more between than it may', () => {
    const { client, page, seen, pass } = world()
    for (let n = 1; n <= 1000; n++) client.show({ position: `${EPOCH}.${n}` })
    expect(seen).toEqual([`${EPOCH}.1`])
    expect(page.getView().position, 'all stores see one moment').toBe(`${EPOCH}.1`)
    pass(60)
    expect(seen).toEqual([`${EPOCH}.1`, `${EPOCH}.1000`])
    pass(60)
    client.show({ position: `${EPOCH}.1001` })
    expect(seen).toHaveLength(3)
  })
})

describe('versions', () => {
  const answerRun = (client: ReturnType<typeof fakeClient>, version: number) => {
    for (const one of client.asked.filter(({ what, more }) => what === 'run' && more === version)) {
      one.answer(entry(run({ version })))
    }
  }
  const settle = () => new Promise<void>((resolve) => setImmediate(resolve))

  test('a late answer never wins: only the latest wish is shown, and one is asked at a time', async () => {
    const client = fakeClient()
    const versions = createVersions(client)
    for (const version of [9, 8, 7, 3]) versions.look('run-1', version)
    expect(client.asked.filter(({ what }) => what === 'history').map(({ more }) => more)).toEqual([
      { after: 8, limit: 1 },
    ])

    answerRun(client, 9)
    answerRun(client, 8)
    client.asked.find(({ what }) => what === 'history')?.answer({ floor: 1, head: 9, commits: [] })
    await settle()
    expect(versions.get()).toEqual({ found: null, asking: true, trouble: null, floor: null })
    answerRun(client, 3)
    answerRun(client, 2)
    client.asked.findLast(({ what }) => what === 'history')?.answer({ floor: 1, head: 9, commits: [] })
    await settle()
    expect(versions.get().found).toMatchObject({ version: 3, before: { version: 2 } })
    expect(versions.get().asking).toBe(false)
    expect(versions.get().floor).toEqual({ run: 'run-1', version: 1 })
  })

  test('a version below the floor is not there, and the floor is told all the same', async () => {
    const client = fakeClient()
    const versions = createVersions(client)
    versions.look('run-1', 3)
    const gone = new ProblemError({ status: 410, code: 'compacted' })
    for (const one of client.asked.filter(({ what }) => what === 'run')) one.refuse(gone)
    client.asked.find(({ what }) => what === 'history')?.answer({ floor: 12, head: 20, commits: [] })
    await settle()

    expect(versions.get()).toEqual({
      found: null,
      asking: false,
      trouble: 'Version 3 has been thinned out; only 12 and later are kept.',
      floor: { run: 'run-1', version: 12 },
    })
  })
})
