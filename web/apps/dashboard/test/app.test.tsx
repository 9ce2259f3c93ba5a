import { ProblemError, type View } from '@runstate/client'
import { act, cleanup, screen, within } from '@testing-library/react'
import { afterEach, describe, expect, test } from 'vitest'
import { EPOCH, entry, pipeline, run, showing, stage } from '../../../packages/react/test/fake-client.ts'
import { openPage, type Page } from './page.tsx'

afterEach(cleanup)

const STARTED = Date.parse('2026-11-23T10:41:18.000Z')
const at = (revision: number) => `${EPOCH}.${revision}`
const button = (name: RegExp) => screen.getByRole('button', { name }) as HTMLButtonElement
const show = (page: Page, change: Partial<View>) => act(() => page.client.show(change))
const link = (page: Page, change: Partial<View['link']>) =>
  show(page, { link: { ...page.client.getView().link, ...change } })
const over = { current_stage: null, ended_at: '2026-11-23T10:43:18.000Z' } as const

describe('truth', () => {
  test('nothing is said before the server has said anything', () => {
    const page = openPage({ now: STARTED })

    expect(page.text()).toContain('Waiting for the server')
    expect(page.text()).toContain('connecting')
    expect(page.text()).not.toContain('idle')
  })

  test('a pipeline that has never run is idle, explained and ready to start', () => {
    const page = openPage({ now: STARTED, show: showing(null) })

    expect(page.text()).toContain('idle')
    expect(page.text()).toContain('It has never run.')
    expect(button(/^Start$/).disabled).toBe(false)
    expect(button(/^Stop…$/).disabled).toBe(true)
  })

  test('a server without pipelines says what to do', () => {
    const page = openPage({ now: STARTED, show: { ...showing(null), pipelines: {} }, hash: '#/' })

    expect(page.text()).toContain('runstate serve pipelines.py')
  })

  test('the page shows what the document says', () => {
    const page = openPage({
      now: STARTED + 134_000,
      show: showing(
        run({
          version: 142,
          state: 'running_analyzer',
          current_stage: 'analyzer',
          retry_count: 2,
          metadata: { as_of: '2011-04-01', symbols: ['SPY'] },
          trigger: { kind: 'schedule', by: 'cron' },
          stages: {
            translator: stage({
              state: 'success',
              attempt: 3,
              started_at: '2026-11-23T10:41:18.000Z',
              ended_at: '2026-11-23T10:42:06.200Z',
              outputs: { files: 312, bars: 1_204_118 },
            }),
            analyzer: stage({
              state: 'running',
              attempt: 1,
              started_at: '2026-11-23T10:42:06.200Z',
              progress: { done: 1_664, total: 2_600, unit: 'days', message: 'SPY' },
            }),
            merger: stage(),
          },
        }),
      ),
    })

    for (const words of [
      'running analyzer',
      '2 min 14 s',
      'Stage 2 of 3.',
      '48.2 s',
      'files 312 · bars 1\u202f204\u202f118',
      'attempt 3',
      '1\u202f664 of 2\u202f600 days · SPY',
      'not begun',
      'schedule, by cron',
      'v 142 · digest verified',
      '["SPY"]',
    ]) {
      expect(page.text()).toContain(words)
    }
    const bar = screen.getByRole('progressbar', { name: 'Progress of analyzer' })
    expect(bar.getAttribute('aria-valuenow')).toBe('64')
  })

  test('a digest that was not verified is not called verified', () => {
    const shown = showing(run())
    const unverified = { ...entry(run()), verified: false }
    const page = openPage({ now: STARTED, show: { ...shown, runs: { 'run-1': unverified } } })

    expect(page.text()).toContain('v 2 · digest not verified')
  })

  test('an error stands at its stage, with its code', () => {
    const failed = stage({ state: 'failed', attempt: 2, error: 'ValueError: no rows', error_code: 'exception' })
    const page = openPage({
      now: STARTED,
      show: showing(
        run({
          ...over,
          state: 'failed',
          status: 'error',
          error: failed.error,
          error_code: 'exception',
          stages: { analyzer: failed },
          stage_order: ['analyzer'],
        }),
      ),
    })

    expect(page.text()).toContain('Failed in analyzer (exception).')
    expect(screen.getAllByRole('group', { name: 'Error' }).map((group) => group.textContent)).toEqual([
      'exception ValueError: no rows',
    ])
  })

  test('several pipelines are listed with their states, and the address picks one', () => {
    const shown = showing(run())
    const nightly = entry(pipeline({ pipeline: 'nightly' }))
    const page = openPage({ now: STARTED, show: { ...shown, pipelines: { ...shown.pipelines, nightly } } })
    const nav = within(screen.getByRole('navigation', { name: 'Pages' }))

    expect(nav.getAllByRole('link').map((tab) => tab.textContent)).toEqual([
      'Overview',
      'Runs',
      'market, running translator',
      'nightly, idle',
    ])
    page.go('#/pipelines/nightly')
    expect(screen.getByRole('heading', { level: 1 }).textContent).toBe('nightly')
    page.go('#/pipelines/gone')
    expect(page.text()).toContain('No pipeline is called gone')
  })
})

describe('time', () => {
  test('the clock ticks while the run is active and the link is live', () => {
    const page = openPage({ now: STARTED + 10_000, show: showing(run()) })
    expect(page.text()).toContain('10 s')

    page.tick(STARTED + 11_000)
    expect(page.text()).toContain('11 s')
  })

  test('a stale page says as of when, greys, and its clocks stand still', () => {
    const page = openPage({ now: STARTED + 10_000, show: showing(run()) })
    link(page, { state: 'stale', lastFrameAt: STARTED + 12_000 })
    page.tick(STARTED + 26_000)

    expect(page.text()).toMatch(/stale\s*as of \d\d:\d\d:\d\d, 14 s ago/)
    expect(page.text()).toContain('The server is not answering.')
    expect(document.querySelector('.page')?.getAttribute('data-grey')).toBe('true')
    expect(document.querySelector('.title-time')?.textContent).toBe('12 s')
    expect(document.title).toBe('(stale) running translator · market · runstate')

    page.tick(STARTED + 36_000)
    expect(page.text()).toContain('24 s ago')
    expect(document.querySelector('.title-time')?.textContent).toBe('12 s')
  })

  test('a finished run lasted what it lasted, whatever the clock says', () => {
    const page = openPage({ now: STARTED + 999_000, show: showing(run({ ...over, state: 'success', status: 'idle' })) })

    expect(document.querySelector('.title-time')?.textContent).toBe('2 min 00 s')
    page.tick(STARTED + 9_999_000)
    expect(document.querySelector('.title-time')?.textContent).toBe('2 min 00 s')
  })
})

describe('recent runs', () => {
  const before = run({
    ...over,
    run_id: 'run-0',
    state: 'failed',
    status: 'error',
    error_code: 'timeout',
    metadata: { note: 'old' },
  })

  test('are listed, and one opens read-only while the stream goes on', async () => {
    const page = openPage({ now: STARTED + 5_000, show: showing(run(), 10) })
    page.client.asked
      .find(({ what }) => what === 'list')
      ?.answer({ position: at(10), runs: [run(), before], next: null })
    await page.settle()
    const rows = within(screen.getByRole('region', { name: 'Recent runs' })).getAllByRole('link')
    expect(rows.map((row) => [row.getAttribute('href'), row.textContent])).toEqual([
      ['#/pipelines/market', expect.stringMatching(/^running translator.*5 s$/)],
      ['#/pipelines/market/runs/run-0', expect.stringMatching(/^failed.*timeout.*2 min 00 s$/)],
    ])

    page.go('#/pipelines/market/runs/run-0')
    expect(page.text()).toContain('An earlier run, read-only.')
    expect(page.text()).toContain('old')
    expect(screen.queryByRole('button', { name: /^(Start|Stop|Retry)/ })).toBeNull()
    expect(screen.getByRole('link', { name: 'Back to the current run' }).getAttribute('href')).toBe(
      '#/pipelines/market',
    )
  })

  test('a run that is nowhere is not invented', async () => {
    const page = openPage({ now: STARTED, show: showing(run(), 10) })
    page.client.asked.find(({ what }) => what === 'list')?.answer({ position: at(10), runs: [], next: null })
    await page.settle()
    page.go('#/pipelines/market/runs/nope')

    expect(page.text(), 'nothing is said before the server has').toContain('Waiting')
    page.client.asked
      .find(({ what, subject }) => what === 'run' && subject === 'nope')
      ?.refuse(new ProblemError({ status: 404, code: 'not_found' }))
    await page.settle()
    expect(page.text()).toContain('is not here')
  })
})
