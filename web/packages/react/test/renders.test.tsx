import type { RunDocument } from '@runstate/client'
import { act, cleanup, render } from '@testing-library/react'
import { type ReactNode, StrictMode } from 'react'
import { afterEach, expect, test } from 'vitest'
import { RunstateProvider, useLink, usePipelineState, useRun, useStage } from '../src/index.ts'
import { entry, fakeClient, run, showing } from './fake-client.ts'

afterEach(cleanup)

/** Mount a component per hook; return the client, the run it shows, and what rendered how often since the last look. */
function mount({ strict }: { readonly strict: boolean }) {
  const client = fakeClient()
  const first = run()
  client.show(showing(first))
  const renders: Record<string, number> = {}
  const count = (name: string): null => {
    renders[name] = (renders[name] ?? 0) + 1
    return null
  }
  function Whole(): ReactNode {
    usePipelineState('market')
    return count('whole')
  }
  function State(): ReactNode {
    useRun('run-1', (document) => document.state)
    return count('state')
  }
  function Retries(): ReactNode {
    useRun('run-1', (document) => document.retry_count)
    return count('retries')
  }
  function Stage({ name }: { readonly name: string }): ReactNode {
    useStage('run-1', name)
    return count(name)
  }
  function Link(): ReactNode {
    useLink()
    return count('link')
  }
  const page = (
    <RunstateProvider client={client}>
      <Whole />
      <State />
      <Retries />
      {first.stage_order.map((name) => (
        <Stage key={name} name={name} />
      ))}
      <Link />
    </RunstateProvider>
  )
  render(strict ? <StrictMode>{page}</StrictMode> : page)
  const take = (): Record<string, number> => {
    const taken = { ...renders }
    for (const name of Object.keys(renders)) delete renders[name]
    return taken
  }
  take()
  return { client, first, take }
}

test.each([
  [false, 1],
  [true, 2], // StrictMode renders each component twice, on purpose
])('a component renders again only for what it picked (StrictMode: %s)', (strict, times) => {
  const { client, first, take } = mount({ strict })
  let shown: RunDocument = first
  const commit = (change: Partial<RunDocument>): void => {
    shown = { ...shown, ...change, version: shown.version + 1 }
    act(() => client.show({ runs: { 'run-1': entry(shown, shown.version) } }))
  }

  for (let done = 1; done <= 100; done++) {
    const { translator } = shown.stages
    if (translator === undefined) throw new Error('it is there')
    const progress = { done, total: 100, unit: 'files', message: null }
    commit({ stages: { ...shown.stages, translator: { ...translator, progress } } })
  }
  expect(take(), '100 commits of one stage').toEqual({ whole: 100 * times, translator: 100 * times })

  commit({ metadata: { day: 1 } })
  expect(take()).toEqual({ whole: times })
  commit({ state: 'running_merger' })
  expect(take()).toEqual({ whole: times, state: times })
  act(() => client.show({ link: { ...client.getView().link, state: 'stale' } }))
  expect(take()).toEqual({ whole: times, link: times })
  commit({ state: 'running_merger', retry_count: 1 })
  expect(take()).toEqual({ whole: times, retries: times })
  act(() => client.show({ position: '1795442496-88a9e774.999' }))
  expect(take(), 'the store has gone on elsewhere').toEqual({})
})
