import { act, cleanup, render } from '@testing-library/react'
import type { ReactNode } from 'react'
import { afterEach, expect, test } from 'vitest'
import { RunstateProvider, useLink, useRun } from '../src/index.ts'
import { entry, fakeClient, run, showing } from './fake-client.ts'

afterEach(cleanup)

test('each component renders again only for what it picked', () => {
  const client = fakeClient()
  client.show(showing(run()))
  const renders: string[] = []
  function State(): ReactNode {
    renders.push(`state ${useRun('run-1', (document) => document.state)}`)
    return null
  }
  function Retries(): ReactNode {
    renders.push(`retries ${useRun('run-1', (document) => document.retry_count)}`)
    return null
  }
  function Link(): ReactNode {
    renders.push(`link ${useLink().state}`)
    return null
  }
  render(
    <RunstateProvider client={client}>
      <State />
      <Retries />
      <Link />
    </RunstateProvider>,
  )
  renders.length = 0

  act(() => client.show({ runs: { 'run-1': entry(run({ version: 3, metadata: { day: 1 } }), 11) } }))
  expect(renders).toEqual([])

  act(() => client.show({ runs: { 'run-1': entry(run({ version: 4, state: 'running_merger' }), 12) } }))
  expect(renders).toEqual(['state running_merger'])

  act(() => client.show({ link: { ...client.getView().link, state: 'stale' } }))
  act(() => client.show({ runs: { 'run-1': entry(run({ version: 5, state: 'running_merger', retry_count: 1 }), 13) } }))
  expect(renders).toEqual(['state running_merger', 'link stale', 'retries 1'])
})
