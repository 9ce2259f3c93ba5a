import { ProblemError, type View } from '@runstate/client'
import { act, cleanup, fireEvent, screen, within } from '@testing-library/react'
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

describe('Start', () => {
  const WORDS = [
    'scheduled',
    'starting',
    'running_translator',
    'running_analyzer',
    'running_merger',
    'retrying',
  ] as const

  test.each(WORDS)('is disabled through %s', (state) => {
    openPage({ now: STARTED, show: showing(run({ state })) })

    expect(button(/^Start$/).disabled).toBe(true)
  })

  test.each([
    ['success', 'idle'],
    ['failed', 'error'],
    ['stopped', 'stopped'],
  ] as const)('is offered after %s', (state, status) => {
    openPage({ now: STARTED, show: showing(run({ ...over, state, status })) })

    expect(button(/^Start$/).disabled).toBe(false)
  })

  test('is busy from the click until its commit is on the page, and shows nothing before', async () => {
    const page = openPage({ now: STARTED, show: showing(null, 10) })
    fireEvent.click(button(/^Start$/))
    expect(button(/^Starting…$/).disabled).toBe(true)
    expect(page.text()).toContain('idle')

    page.client.asked
      .find(({ what }) => what === 'start')
      ?.answer({ position: at(12), document: run({ state: 'starting' }) })
    await page.settle()
    expect(button(/^Starting…$/).disabled).toBe(true)
    expect(page.text()).toContain('idle')

    show(page, showing(run({ version: 1, state: 'starting', current_stage: null }), 12))
    expect(button(/^Start$/).disabled).toBe(true)
    expect(page.text()).toContain('starting')
  })

  test('a refusal is one sentence, and the button is offered again', async () => {
    const page = openPage({ now: STARTED, show: showing(null) })
    fireEvent.click(button(/^Start$/))
    const problem = { type: '', title: 'Unavailable', status: 503, code: 'unavailable' }
    page.client.asked.find(({ what }) => what === 'start')?.refuse(new ProblemError(problem as never))
    await page.settle()

    const alert = screen
      .getAllByRole('alert')
      .map((element) => element.textContent)
      .join('')
    expect(alert).toContain('Not started: the server cannot commit right now, and nothing has changed.')
    expect(button(/^Start$/).disabled).toBe(false)
    fireEvent.click(button(/^Dismiss$/))
    expect(page.text()).not.toContain('Not started')
  })

  test('is not offered on a page that is not current', () => {
    const page = openPage({ now: STARTED, show: showing(null) })
    link(page, { state: 'stale' })

    expect(button(/^Start$/).disabled).toBe(true)
  })
})

describe('Stop', () => {
  test('asks first, saying what will happen', () => {
    const page = openPage({ now: STARTED, show: showing(run()) })
    fireEvent.click(button(/^Stop…$/))

    const dialog = screen.getByRole('dialog')
    expect(dialog.textContent).toContain('asks translator to end, and kills it and everything it started')
    fireEvent.click(within(dialog).getByRole('button', { name: 'Keep running' }))
    expect(screen.queryByRole('dialog')).toBeNull()
    expect(page.client.asked.filter(({ what }) => what === 'stop')).toEqual([])
  })

  test('is "Stopping…" from the click until the run has ended', async () => {
    const page = openPage({ now: STARTED, show: showing(run(), 10) })
    fireEvent.click(button(/^Stop…$/))
    fireEvent.click(button(/^Stop the run$/))
    expect(button(/^Stopping…$/).disabled).toBe(true)
    expect(page.text()).toContain('running translator')

    const asked = page.client.asked.find(({ what }) => what === 'stop')
    expect(asked?.subject).toBe('run-1')
    asked?.answer({ position: at(11), document: run() })
    await page.settle()
    const stop_requested = { at: '2026-11-23T10:42:00.000Z', by: null, reason: null }
    show(page, showing(run({ version: 3, stop_requested }), 11))
    expect(button(/^Stopping…$/).disabled).toBe(true)
    expect(page.text()).toContain('stopping…')
    expect(button(/^Start$/).disabled).toBe(true)

    show(page, showing(run({ ...over, version: 4, state: 'stopped', status: 'stopped', stop_requested }), 12))
    expect(screen.queryByRole('button', { name: /^Stop/ })).toBeNull()
    expect(button(/^Retry…$/).disabled).toBe(false)
    expect(button(/^Start$/).disabled).toBe(false)
    expect(page.text()).toContain('stopped')
  })

  test('the question goes away when the run ends by itself', () => {
    const page = openPage({ now: STARTED, show: showing(run()) })
    fireEvent.click(button(/^Stop…$/))
    show(page, showing(run({ ...over, version: 3, state: 'success', status: 'idle' }), 11))

    expect(screen.queryByRole('dialog')).toBeNull()
  })
})

describe('Retry, the schedule and acknowledging', () => {
  const failed = run({
    ...over,
    state: 'failed',
    status: 'error',
    stages: {
      translator: stage({ state: 'success', attempt: 1 }),
      analyzer: stage({ state: 'failed', attempt: 2, error_code: 'exception' }),
      merger: stage(),
    },
  })
  const askedFor = (page: Page, what: string) => page.client.asked.find((one) => one.what === what)

  test('a retry says what will happen, and what changed meanwhile when it comes too late', async () => {
    const page = openPage({ now: STARTED, show: showing(failed, 10) })
    fireEvent.click(button(/^Retry…$/))
    expect(screen.getByRole('dialog').textContent).toContain('goes on at analyzer, with attempt 3. translator stay')
    fireEvent.click(button(/^Retry the run$/))
    expect(button(/^Retrying…$/).disabled).toBe(true)
    const document = { ...failed, version: 3, state: 'retrying', status: 'running' } as const
    askedFor(page, 'retry')?.refuse(new ProblemError({ status: 412, code: 'conflict', document }))
    await page.settle()
    expect(page.text()).toContain('Not retried: this changed meanwhile: state failed → retrying')
    expect(page.text(), 'the page still shows what the stream shows').toContain('failed')
  })

  test('the schedule is turned off by a commit, not by the click', async () => {
    const schedule = {
      cron: '0 7 * * 1-5',
      tz: 'America/Chicago',
      enabled: true,
      missed: 'skip',
      overlap: 'skip',
      queued_at: null,
      next_run_at: '2026-11-24T13:00:00.000Z',
      last_run_id: null,
      last_skip_reason: 'overlap',
    }
    const shown = (enabled: boolean, revision: number) => ({
      ...showing(failed, revision),
      pipelines: {
        market: entry(pipeline({ current_run_id: 'run-1', schedule: { ...schedule, enabled } }), revision),
      },
    })
    const page = openPage({ now: STARTED, show: shown(true, 10) })
    expect(page.text()).toContain('overlap')
    fireEvent.click(button(/^Turn the schedule off$/))
    expect(button(/^Turn the schedule off$/).getAttribute('aria-busy')).toBe('true')
    expect(askedFor(page, 'schedule')?.more).toEqual({ enabled: false })
    askedFor(page, 'schedule')?.answer({ position: at(11), document: pipeline() })
    await page.settle()
    expect(button(/^Turn the schedule off$/).disabled).toBe(true)
    show(page, shown(false, 11))
    expect(button(/^Turn the schedule on$/).disabled).toBe(false)
  })

  test('a block shows its reasons and is acknowledged with one', async () => {
    const health = { state: 'blocked', reasons: ['the last run ended out_of_memory'] } as const
    const pipelines = { market: entry(pipeline({ current_run_id: 'run-1', health })) }
    const page = openPage({ now: STARTED, show: { ...showing(failed), pipelines } })
    expect(page.text()).toContain('the last run ended out_of_memory')
    fireEvent.click(button(/^Acknowledge…$/))
    fireEvent.change(screen.getByLabelText('Reason'), { target: { value: 'more memory' } })
    fireEvent.click(button(/^Acknowledge$/))
    expect(askedFor(page, 'acknowledge')?.more).toEqual({ reason: 'more memory' })
  })

  test('Start with… sends metadata, stages and the override', () => {
    const health = { state: 'degraded', reasons: ['analyzer failed twice running'] } as const
    const pipelines = { market: entry(pipeline({ current_run_id: 'run-1', health })) }
    const page = openPage({ now: STARTED, show: { ...showing(failed), pipelines } })
    fireEvent.click(button(/^Start with…$/))
    const dialog = within(screen.getByRole('dialog'))
    fireEvent.change(dialog.getByRole('textbox'), { target: { value: 'days 30' } })
    fireEvent.click(button(/^Start the run$/))
    expect(dialog.getByRole('alert').textContent).toContain('Line 1')
    fireEvent.change(dialog.getByRole('textbox'), { target: { value: 'days = 30\nas_of = 2011-04-01' } })
    fireEvent.click(dialog.getByLabelText('merger'))
    fireEvent.click(dialog.getByLabelText(/Start although/))
    fireEvent.click(button(/^Start the run$/))
    expect(askedFor(page, 'start')?.more).toEqual({
      metadata: { days: 30, as_of: '2011-04-01' },
      stages: ['translator', 'analyzer'],
      override: true,
    })
  })
})
