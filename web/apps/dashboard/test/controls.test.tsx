import { ProblemError, type View } from '@runstate/client'
import { act, cleanup, fireEvent, screen, within } from '@testing-library/react'
import { afterEach, describe, expect, test } from 'vitest'
import { EPOCH, run, showing } from '../../../packages/react/test/fake-client.ts'
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
    expect(button(/^Stop…$/).disabled).toBe(true)
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
