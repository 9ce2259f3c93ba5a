import { ProblemError, type RunDocument } from '@runstate/client'
import { describe, expect, test } from 'vitest'
import { EPOCH, entry, fakeClient, run, showing, stage } from '../../../packages/react/test/fake-client.ts'
import { createClock } from '../src/store/clock.ts'
import { createCommands } from '../src/store/commands.ts'
import { attemptKey, createProgress } from '../src/store/progress.ts'
import { createRecentRuns } from '../src/store/recent-runs.ts'
import { hrefTo, hrefToCompare, hrefToRuns, parseRoute } from '../src/store/route.ts'

/** Let the promises that are already answered have their effect. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve))
const at = (revision: number) => `${EPOCH}.${revision}`
const ended = (change: Partial<RunDocument> = {}) =>
  run({ state: 'success', status: 'idle', current_stage: null, ended_at: '2026-11-23T10:50:00.000Z', ...change })

describe('commands: busy until the commit is in the view', () => {
  test('an answer alone frees nothing', async () => {
    const client = fakeClient()
    client.show(showing(null, 10))
    const commands = createCommands(client)

    commands.start('market')
    expect(commands.get()).toEqual({ market: { kind: 'sending', verb: 'start' } })

    client.asked[0]?.answer({ position: at(12), document: run() })
    await settled()
    expect(commands.get()).toEqual({ market: { kind: 'committed', verb: 'start', position: at(12) } })

    client.show(showing(null, 11))
    expect(commands.get().market?.kind).toBe('committed')

    client.show(showing(run({ state: 'starting' }), 12))
    expect(commands.get()).toEqual({})
  })

  test('a commit may be on the page before its answer is', async () => {
    const client = fakeClient()
    client.show(showing(null, 10))
    const commands = createCommands(client)
    commands.start('market')

    client.show(showing(run(), 12))
    expect(commands.get().market?.kind).toBe('sending')
    client.asked[0]?.answer({ position: at(12), document: run() })
    await settled()

    expect(commands.get()).toEqual({})
  })

  test('a second click while busy sends nothing', () => {
    const client = fakeClient()
    const commands = createCommands(client)
    commands.start('market')
    commands.start('market')
    commands.stop('market', 'run-1')

    expect(client.asked).toHaveLength(1)
  })

  test('a refusal says why until it is dismissed or another command is sent', async () => {
    const client = fakeClient()
    const commands = createCommands(client)
    commands.start('market')
    client.asked[0]?.refuse(new ProblemError({ type: '', title: '', status: 409, code: 'already_running' } as never))
    await settled()
    expect(commands.get().market).toMatchObject({
      kind: 'refused',
      sentence: expect.stringContaining('already active'),
    })

    commands.dismiss('market')
    expect(commands.get()).toEqual({})
    commands.stop('market', 'run-1')
    commands.dismiss('market')
    expect(commands.get().market?.kind).toBe('sending')
  })
})

describe('recent runs', () => {
  test('asks once, waits until the view has reached the answer, then shows it', async () => {
    const client = fakeClient()
    client.show(showing(run(), 10))
    const recent = createRecentRuns(client)
    recent.watch('market')
    recent.watch('market')
    expect(client.asked).toHaveLength(1)
    expect(recent.get().market).toMatchObject({ state: 'loading', runs: [{ run_id: 'run-1' }] })

    client.asked[0]?.answer({ position: at(12), runs: [run({ version: 9 }), ended({ run_id: 'run-0' })], next: null })
    await settled()
    expect(recent.get().market?.state).toBe('loading')

    client.show(showing(run({ version: 9 }), 12))
    expect(recent.get().market?.state).toBe('ready')
    expect(recent.get().market?.runs.map(({ run_id, version }) => [run_id, version])).toEqual([
      ['run-1', 9],
      ['run-0', 2],
    ])
  })

  test('asks again when a run begins or ends, and not for anything between', () => {
    const client = fakeClient()
    client.show(showing(run(), 10))
    const recent = createRecentRuns(client)
    recent.watch('market')

    client.show(showing(run({ version: 3, state: 'running_analyzer' }), 11))
    expect(client.asked).toHaveLength(1)
    client.show(showing(ended({ version: 4 }), 12))
    expect(client.asked).toHaveLength(2)
    client.show(showing(run({ run_id: 'run-2' }), 13))
    expect(client.asked).toHaveLength(3)
  })

  test('a late answer to an overtaken question is dropped', async () => {
    const client = fakeClient()
    client.show(showing(run(), 10))
    const recent = createRecentRuns(client)
    recent.watch('market')
    client.show(showing(ended({ version: 4 }), 12))

    client.asked[1]?.answer({ position: at(12), runs: [ended({ version: 4 }), ended({ run_id: 'run-0' })], next: null })
    await settled()
    client.asked[0]?.answer({ position: at(10), runs: [], next: null })
    await settled()

    expect(recent.get().market?.runs.map((shown) => shown.run_id)).toEqual(['run-1', 'run-0'])
  })

  test('what the stream shows of the current run is never overwritten', async () => {
    const client = fakeClient()
    const shown = run({ version: 3 })
    client.show(showing(shown, 13))
    const recent = createRecentRuns(client)
    recent.watch('market')

    client.asked[0]?.answer({ position: at(12), runs: [run({ version: 2, state: 'starting' })], next: null })
    await settled()

    expect(recent.get().market).toEqual({ state: 'ready', runs: [shown] })
  })

  test('a failure is shown, and tried again on request or when the link is back', async () => {
    const client = fakeClient()
    client.show(showing(run(), 10))
    const recent = createRecentRuns(client)
    recent.watch('market')
    client.asked[0]?.refuse(new TypeError('Failed to fetch'))
    await settled()
    expect(recent.get().market?.state).toBe('failed')

    recent.retry('market')
    expect(recent.get().market?.state).toBe('loading')
    client.asked[1]?.refuse(new TypeError('Failed to fetch'))
    await settled()

    client.show({ link: { ...client.getView().link, state: 'stale' } })
    expect(client.asked).toHaveLength(2)
    client.show({ link: { ...client.getView().link, state: 'live' } })
    expect(client.asked).toHaveLength(3)
  })
})

describe('progress', () => {
  const working = (done: number, second: number, attempt = 1) =>
    run({
      updated_at: `2026-11-23T10:41:${second}.000Z`,
      stages: {
        translator: stage({ state: 'running', attempt, progress: { done, total: 10, unit: null, message: null } }),
      },
    })

  test('remembers what the stream showed of the attempt that runs, and forgets the rest', () => {
    const client = fakeClient()
    const progress = createProgress(client)
    client.show(showing(working(1, 20), 11))
    client.show(showing(working(3, 22), 12))
    expect(progress.get()[attemptKey('run-1', 'translator', 1)]?.map(({ done }) => done)).toEqual([1, 3])

    client.show(showing(working(1, 30, 2), 13))
    expect(Object.keys(progress.get())).toEqual([attemptKey('run-1', 'translator', 2)])

    client.show(showing(ended(), 14))
    expect(progress.get()).toEqual({})
  })

  test('a transition without progress wakes nobody', () => {
    const client = fakeClient()
    client.show(showing(working(1, 20), 11))
    const progress = createProgress(client)
    let woken = 0
    progress.subscribe(() => woken++)

    client.show({ position: at(12) })
    client.show({ runs: { 'run-1': entry(working(1, 21), 13) } })

    expect(woken).toBe(0)
  })
})

test('the clock ticks only while somebody looks', () => {
  let now = 1_000
  let ticks: (() => void) | null = null
  const clock = createClock({
    now: () => now,
    everySecond: (tick) => {
      ticks = tick
      return () => {
        ticks = null
      }
    },
  })
  expect(ticks).toBeNull()

  now = 5_000
  const seen: number[] = []
  const end = clock.subscribe(() => seen.push(clock.get()))
  const endToo = clock.subscribe(() => {})
  expect(clock.get()).toBe(5_000)
  now = 6_000
  ;(ticks as (() => void) | null)?.()
  expect(seen).toEqual([6_000])

  end()
  expect(ticks).not.toBeNull()
  endToo()
  expect(ticks).toBeNull()
})

describe('the address', () => {
  const overview = { page: 'overview' } as const
  const at = (name: string) => ({ page: 'pipeline', pipeline: name }) as const
  test.each([
    ['', overview],
    ['#/', overview],
    ['#/pipelines/', overview],
    ['#/nonsense', overview],
    ['#/pipelines/market', at('market')],
    ['#/pipelines/a%2Fb', at('a/b')],
    ['#/pipelines/%E0%A4%A', at('%E0%A4%A')],
    ['#/pipelines/market/runs/', at('market')],
    ['#/pipelines/market/logs/x', at('market')],
    ['#/pipelines/market/runs/01JD', { page: 'run', pipeline: 'market', run: '01JD', version: null }],
    ['#/pipelines/market/runs/01JD?version=3', { page: 'run', pipeline: 'market', run: '01JD', version: 3 }],
    ['#/pipelines/market/runs/01JD?version=-1', { page: 'run', pipeline: 'market', run: '01JD', version: null }],
    ['#/runs?status=error', { page: 'runs', filters: { pipeline: '', status: 'error', hours: '' } }],
    ['#/compare?a=1&b=2', { page: 'compare', runs: ['1', '2'] }],
  ])('%s', (hash, route) => {
    expect(parseRoute(hash)).toEqual(route)
  })

  test('what is written can be read', () => {
    const run = { page: 'run', pipeline: 'a/b #1', run: 'x?y', version: 7 }
    expect(parseRoute(hrefTo('a/b #1', 'x?y', 7))).toEqual(run)
    const filters = { pipeline: 'a&b', status: '', hours: '24' }
    expect(parseRoute(hrefToRuns(filters))).toEqual({ page: 'runs', filters })
    expect(parseRoute(hrefToCompare('a', 'b'))).toEqual({ page: 'compare', runs: ['a', 'b'] })
  })
})
