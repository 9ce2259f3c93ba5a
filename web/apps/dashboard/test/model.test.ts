import { ProblemError, type View } from '@runstate/client'
import { describe, expect, test } from 'vitest'
import { EPOCH, entry, pipeline, run, showing, stage } from '../../../packages/react/test/fake-client.ts'
import { elapsed } from '../src/model/elapsed.ts'
import { explanation, freshnessOf } from '../src/model/freshness.ts'
import { lastTimes } from '../src/model/last-time.ts'
import { ledeFor, ownError, stopWords } from '../src/model/lede.ts'
import { sentenceFor } from '../src/model/problem.ts'
import { left, perSecond, type Sample, withSample } from '../src/model/rate.ts'
import { isNewer, listKey, mergeRuns } from '../src/model/recent.ts'
import { lookOf, mayStart, mayStop, stateWords } from '../src/model/run.ts'

const ASKED = { at: '2026-11-23T10:42:00.000Z', by: 'api', reason: 'wrong config' }

describe('what a state word means (D2, D3)', () => {
  test.each([
    ['idle', 'idle', 'idle', true, false],
    ['scheduled', 'running', 'scheduled', false, true],
    ['starting', 'running', 'running', false, true],
    ['running_translator', 'running', 'running', false, true],
    ['running_load_data', 'running', 'running', false, true],
    ['retrying', 'running', 'retrying', false, true],
    ['success', 'idle', 'success', true, false],
    ['failed', 'error', 'failed', true, false],
    ['stopped', 'stopped', 'stopped', true, false],
    ['paused', 'running', 'unknown', false, true],
  ] as const)('%s', (state, status, look, start, stop) => {
    const standing = { state, status, stop_requested: null }

    expect(lookOf(standing)).toBe(look)
    expect(mayStart(standing)).toBe(start)
    expect(mayStop(standing)).toBe(stop)
  })

  test('a stage keeps its own spelling', () => {
    expect(stateWords(run({ state: 'running_load_data' }))).toBe('running load_data')
  })

  test('an asked stop is shown until the run has ended, and cannot be asked twice', () => {
    const asked = run({ stop_requested: ASKED })
    expect([lookOf(asked), stateWords(asked), mayStop(asked)]).toEqual(['stopping', 'stopping…', false])

    const over = run({ state: 'stopped', status: 'stopped', stop_requested: ASKED })
    expect([lookOf(over), stateWords(over), mayStart(over)]).toEqual(['stopped', 'stopped', true])
  })
})

describe('how far the page can be believed (F12)', () => {
  const link = (state: View['link']['state'], sourceAgeMs: number | null = 20): View['link'] => ({
    state,
    since: 0,
    lastFrameAt: 100_000,
    sourceAgeMs,
    transport: 'websocket',
  })

  test.each([
    ['connecting', false, false],
    ['live', true, false],
    ['quiet', true, false],
    ['source-stale', false, true],
    ['stale', false, true],
    ['resyncing', false, false],
    ['integrity', false, false],
  ] as const)('%s: current %s, grey %s', (state, current, grey) => {
    const freshness = freshnessOf(link(state))

    expect(freshness).toMatchObject({ current, grey })
    expect(freshness.asOf === null).toBe(current)
  })

  test('a stale source is as old as its journal, not as its last frame', () => {
    expect(freshnessOf(link('source-stale', 22_000)).asOf).toBe(78_000)
    expect(freshnessOf(link('stale', 22_000)).asOf).toBe(100_000)
    expect(freshnessOf({ ...link('stale'), lastFrameAt: null }).asOf).toBeNull()
  })

  test('only a page that is not current explains itself', () => {
    expect(explanation(link('live'))).toBeNull()
    expect(explanation(link('stale'))).toMatch(/not answering/)
    const problem = { code: 'unauthorized', status: 401, detail: 'a token is needed' }
    expect(explanation({ ...link('connecting'), problem })).toMatch(/refuses this page: a token is needed\./)
  })
})

describe('elapsed', () => {
  test('until the end, else until now, never negative', () => {
    const from = '2026-11-23T10:00:00.000Z'
    expect(elapsed(from, '2026-11-23T10:00:48.200Z', null)).toBe(48_200)
    expect(elapsed(from, null, Date.parse(from) + 5_000)).toBe(5_000)
    expect(elapsed(from, null, Date.parse(from) - 5_000)).toBe(0)
    expect(elapsed(from, null, null)).toBeNull()
    expect(elapsed(null, null, 1)).toBeNull()
  })
})

describe('rate and what is left', () => {
  const seen = (...pairs: readonly (readonly [number, number])[]) =>
    pairs.reduce<readonly Sample[]>((samples, [at, done]) => withSample(samples, { at, done }), [])

  test('two commits far enough apart make a speed', () => {
    expect(perSecond(seen([0, 10]))).toBeNull()
    expect(perSecond(seen([0, 10], [1_000, 20]))).toBeNull()
    expect(perSecond(seen([0, 10], [2_000, 50]))).toBe(20)
  })

  test('what is left follows from it, and shrinks while nothing new is heard', () => {
    const samples = seen([0, 0], [5_000, 50])
    expect(left(samples, 100, 5_000)).toBe(5_000)
    expect(left(samples, 100, 7_000)).toBe(3_000)
    expect(left(samples, null, 5_000)).toBeNull()
    expect(left(samples, 40, 5_000)).toBeNull()
  })

  test('a stage that stands still has no time left to tell', () => {
    expect(left(seen([0, 0], [5_000, 50]), 100, 60_000)).toBeNull()
  })

  test('only the last half minute counts, and at least two steps of a slow stage', () => {
    expect(perSecond(seen([0, 0], [40_000, 4_000], [50_000, 4_010]))).toBe(1)
    expect(perSecond(seen([0, 0], [60_000, 6]))).toBe(0.1)
  })

  test('the same amount is no news, and less is a new beginning', () => {
    const once = seen([0, 10])
    expect(withSample(once, { at: 9_000, done: 10 })).toBe(once)
    expect(seen([0, 10], [5_000, 20], [6_000, 1])).toEqual([{ at: 6_000, done: 1 }])
  })

  test('memory is bounded', () => {
    const many = seen(...Array.from({ length: 1_000 }, (_, n) => [n * 10, n] as const))
    expect(many.length).toBeLessThanOrEqual(120)
  })
})

describe('recent runs', () => {
  const old = run({ run_id: 'a', version: 5, state: 'success', status: 'idle', ended_at: '2026-11-22T10:00:00.000Z' })
  const view = (current: ReturnType<typeof run>) => showing(current) as View

  test('the stream decides over the run that it follows, even against a newer list', () => {
    const streamed = run({ run_id: 'b', version: 3 })
    const listed = run({ run_id: 'b', version: 9, state: 'success' })

    expect(mergeRuns([listed, old], view(streamed), 'market', 9)).toEqual([streamed, old])
  })

  test('for a run that the stream has left the newer version wins', () => {
    const left = { ...view(run({ run_id: 'c' })) }
    const seen: View = { ...left, runs: { ...left.runs, a: entry(run({ run_id: 'a', version: 4 })) } }

    expect(mergeRuns([old], seen, 'market', 9).at(-1)).toBe(old)
  })

  test('a run that no list knows yet comes first; other pipelines stay out', () => {
    const streamed = run({ run_id: 'b', version: 1, state: 'starting' })
    const other = entry(run({ run_id: 'x', pipeline: 'nightly' }))
    const seen: View = { ...view(streamed), runs: { ...view(streamed).runs, x: other } }

    expect(mergeRuns([old], seen, 'market', 9).map((shown) => shown.run_id)).toEqual(['b', 'a'])
    expect(mergeRuns([old], seen, 'market', 1).map((shown) => shown.run_id)).toEqual(['b'])
  })

  test('a later epoch is newer, whatever the version', () => {
    const restored = run({ epoch: '1795449999-00000000', version: 2 })
    expect(isNewer(restored, run({ version: 9 }))).toBe(true)
    expect(isNewer(run({ version: 9 }), restored)).toBe(false)
    expect(isNewer(run({ version: 3 }), run({ version: 2 }))).toBe(true)
  })

  test('the list is asked for again when a run begins or ends, not when it moves', () => {
    const key = (current: ReturnType<typeof run>) => listKey(view(current), 'market')
    const running = run()
    expect(key(running)).toBe(key(run({ version: 3, state: 'running_analyzer' })))
    expect(key(running)).not.toBe(key(run({ run_id: 'next' })))
    expect(key(running)).not.toBe(key(run({ state: 'failed', ended_at: '2026-11-23T11:00:00.000Z' })))
    expect(listKey({ ...view(running), pipelines: {} }, 'market')).toBeNull()
  })
})

describe('sentences', () => {
  const problem = (status: number, code: string, detail?: string) =>
    new ProblemError({
      type: 'about:blank',
      title: '',
      status,
      code,
      ...(detail === undefined ? {} : { detail }),
    } as never)

  test.each([
    ['start', problem(409, 'already_running'), 'Not started: another run is already active.'],
    ['stop', problem(409, 'not_allowed'), 'Not stopped: the run has already ended.'],
    [
      'start',
      problem(409, 'blocked', 'health is blocked: out_of_memory'),
      'Not started: health is blocked: out_of_memory.',
    ],
    ['start', problem(503, 'unavailable', 'disk full'), /cannot commit right now, and nothing has changed/],
    ['stop', problem(403, 'forbidden'), 'Not stopped: this access may only read.'],
    ['start', problem(418, 'teapot'), 'Not started: 418 teapot.'],
    ['start', new TypeError('Failed to fetch'), /may still have arrived/],
    ['start', problem(0, 'unreachable'), /may still have arrived/],
  ] as const)('%s, %s', (verb, reason, sentence) => {
    expect(sentenceFor(verb, reason)).toMatch(sentence)
  })

  test.each([
    [run(), 'Stage 1 of 3.'],
    [run({ state: 'starting', current_stage: null }), 'Getting the first stage ready.'],
    [
      run({ stop_requested: ASKED }),
      'Asked to stop by api (wrong config); translator is killed if it outlasts its grace period.',
    ],
    [run({ state: 'retrying', error_code: 'timeout' }), 'translator will be tried again (timeout).'],
    [
      run({
        state: 'failed',
        status: 'error',
        error_code: 'exception',
        stages: { analyzer: stage({ state: 'failed' }) },
      }),
      'Failed in analyzer (exception).',
    ],
    [run({ state: 'success', status: 'idle' }), 'Every stage is done.'],
    [run({ state: 'paused', current_stage: null }), 'State paused: this page does not know that word.'],
  ] as const)('a run in words %#', (told, sentence) => {
    expect(ledeFor(told)).toBe(sentence)
  })

  test.each([
    [run(), /^This asks translator to end, and kills it and everything it started/],
    [run({ state: 'starting', current_stage: null }), /^No stage has begun/],
    [run({ state: 'retrying' }), /^translator waits to be tried again; it is not/],
  ] as const)('a stop in words %#', (told, words) => {
    expect(stopWords(told)).toMatch(words)
  })

  test('an error that no stage carries is the run’s own', () => {
    expect(ownError(run({ error: 'NotServed: gone' }))).toBe('NotServed: gone')
    expect(ownError(run({ error: 'E: x', stages: { translator: stage({ error: 'E: x' }) } }))).toBeNull()
    expect(ownError(run())).toBeNull()
  })
})

test('a stage’s last time is that of the latest run in which it succeeded', () => {
  const took = (seconds: number) =>
    stage({
      state: 'success',
      attempt: 1,
      started_at: '2026-11-23T10:00:00.000Z',
      ended_at: `2026-11-23T10:00:0${seconds}.000Z`,
    })
  const runs = [
    run({ run_id: 'now', stages: { load: took(9) } }),
    run({ run_id: 'b', stages: { load: stage({ state: 'failed' }), save: took(2) } }),
    run({ run_id: 'a', stages: { load: took(3), save: took(4) } }),
  ]

  expect(lastTimes(runs, 'now')).toEqual({ load: 3_000, save: 2_000 })
})

test('the fixtures are of one epoch', () => {
  expect(pipeline().epoch).toBe(EPOCH)
})
