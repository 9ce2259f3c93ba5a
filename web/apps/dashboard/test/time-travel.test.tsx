import type { RunDocument } from '@runstate/client'
import { act, cleanup, fireEvent, screen } from '@testing-library/react'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { EPOCH, entry, run, showing, stage } from '../../../packages/react/test/fake-client.ts'
import { tellingFirst } from '../src/model/diff.ts'
import { matching, type Row } from '../src/model/log.ts'
import { openPage, type Page } from './page.tsx'

afterEach(cleanup)
beforeEach(() => window.location.replace('#/'))

const STARTED = Date.parse('2026-11-23T10:41:18.000Z')

/** A run whose translator has done `done` files at version `version`. */
function at(version: number, done: number): RunDocument {
  const progress = { done, total: 12, unit: 'files', message: null }
  const translator = stage({ state: 'running', attempt: 1, started_at: '2026-11-23T10:41:18.100Z', progress })
  return run({
    version,
    updated_at: `2026-11-23T10:41:${20 + version}.000Z`,
    stages: { translator, analyzer: stage(), merger: stage() },
  })
}

const show = (page: Page, version: number, done: number) =>
  act(() => page.client.show(showing(at(version, done), 10 + version)))
const slider = () => screen.getByRole<HTMLInputElement>('slider', { name: 'Version of the run' })
const changed = () => screen.getByRole('group', { name: 'What changed' }).textContent ?? ''
const commit = (version: number) => ({
  version,
  position: `${EPOCH}.${10 + version}`,
  at: `2026-11-23T10:41:${20 + version}.000Z`,
  cause: {},
  old_state: 'running_translator',
  new_state: 'running_translator',
  digest: entry(run()).digest,
  patch: [{ op: 'replace', path: '/stages/translator/progress/done', value: version }],
})

/** Answer every open question about versions, as a server whose floor is `floor`. */
async function answer(page: Page, floor = 1): Promise<void> {
  for (const { what, more, answer: give } of page.client.asked) {
    if (what === 'run') give(entry(at(Number(more ?? 9), Number(more ?? 9)), 10 + Number(more ?? 9)))
    if (what === 'history') {
      const { after } = more as { readonly after: number }
      give({ floor, head: 9, commits: [commit(after + 1)] })
    }
  }
  await page.settle()
}

describe('the present', () => {
  test('a page that has just been opened asks what the version that it shows has changed', async () => {
    const page = openPage({ now: STARTED, show: showing(at(9, 9), 19) })
    expect(page.client.asked.filter(({ what }) => what === 'history').map(({ more }) => more)).toContainEqual({
      after: 8,
      limit: 1,
    })
    await answer(page, 4)

    expect(changed()).toContain('/stages/translator/progress/done8 → 9')
    expect(changed()).toContain('digest verified')
    expect([slider().min, slider().max, slider().value], 'the slider begins at the floor').toEqual(['4', '9', '9'])
  })

  test('each version shows what it changed as it comes, and nothing is asked for it', async () => {
    const page = openPage({ now: STARTED, show: showing(at(2, 2)) })
    await answer(page)
    const asked = page.client.asked.length
    show(page, 3, 5)

    expect(changed()).toContain('/stages/translator/progress/done2 → 5')
    expect(changed()).not.toContain('at once')
    show(page, 8, 11)
    expect(changed()).toContain('5 commits at once, v 3 → v 8:')
    expect(changed()).toContain('/stages/translator/progress/done5 → 11')
    expect(page.client.asked).toHaveLength(asked)
    expect(screen.getByRole('link', { name: 'link to v 8' }).getAttribute('href')).toBe(
      '#/pipelines/market/runs/run-1?version=8',
    )
  })

  test('the slider that leaves it is the same one, and comes back to the live page', async () => {
    const page = openPage({ now: STARTED, show: showing(at(9, 9), 19) })
    await answer(page)
    const held = slider()
    fireEvent.change(held, { target: { value: '7' } })
    expect(window.location.hash).toBe('#/pipelines/market/runs/run-1?version=7')
    page.go(window.location.hash)
    expect(page.text(), 'not yet').toContain('This is version 9 of 9; version 7 is loading.')
    await answer(page)

    expect(page.text()).toContain('As it was at version 7 of 9.')
    expect(changed()).toContain('/stages/translator/progress/done6 → 7')
    expect(slider()).toBe(held)
    fireEvent.change(held, { target: { value: '9' } })
    expect(window.location.hash).toBe('#/pipelines/market')
  })
})

test('what tells something comes first, what changes each time last', () => {
  const rows = ['/updated_at', '/state', '/stages/a/heartbeat_at', '/stages/a/error'].map((path) => ({
    path,
    before: 1,
    after: 2,
  }))

  expect(tellingFirst(rows).map(({ path }) => path)).toEqual([
    '/state',
    '/stages/a/error',
    '/updated_at',
    '/stages/a/heartbeat_at',
  ])
})

test('a log that is looked back at ends where it ended then', () => {
  const line = (offset: number, second: number): Row => ({
    kind: 'line',
    offset,
    at: `2026-11-23T10:41:${second}.000Z`,
    stage: 'translator',
    attempt: 1,
    level: 'info',
    text: `line ${offset}`,
  })
  const rows = [line(1, 20), line(2, 25), line(3, 30)]

  expect(matching(rows, { stage: '', search: '', until: '2026-11-23T10:41:25.000Z' })).toEqual(rows.slice(0, 2))
  expect(matching(rows, { stage: '', search: '', until: null })).toBe(rows)
})
