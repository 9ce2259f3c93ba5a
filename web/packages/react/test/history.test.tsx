import type { Commit } from '@runstate/client'
import { act, cleanup, render } from '@testing-library/react'
import { type ReactNode, StrictMode } from 'react'
import { renderToString } from 'react-dom/server'
import { afterEach, expect, test } from 'vitest'
import { type History, RunstateProvider, useHistory, useStage } from '../src/index.ts'
import { entry, fakeClient, run, showing, stage } from './fake-client.ts'

afterEach(cleanup)

const commit = (version: number): Commit => ({
  version,
  position: `1795442496-88a9e774.${version}`,
  at: '2026-11-23T10:41:18.000Z',
  cause: null,
  old_state: 'idle',
  new_state: 'starting',
  digest: '',
  patch: null,
})
const commits = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, at) => commit(from + at))
const versions = (history: History | undefined) => history?.commits.map(({ version }) => version)
const settle = () => act(() => new Promise<void>((resolve) => setImmediate(resolve)))

function follow(client: ReturnType<typeof fakeClient>, id: string | null = 'run-1') {
  const seen: History[] = []
  function Probe(): ReactNode {
    seen.push(useHistory(id, { limit: 10 }))
    return null
  }
  render(
    <StrictMode>
      <RunstateProvider client={client}>
        <Probe />
      </RunstateProvider>
    </StrictMode>,
  )
  return { last: () => seen.at(-1) }
}

test('useHistory asks once, follows the view and never runs ahead of it', async () => {
  const client = fakeClient()
  client.show(showing(run({ version: 3 })))
  const { last } = follow(client)
  expect(last()?.state).toBe('loading')
  expect(client.asked.map(({ what, more }) => [what, more])).toEqual([['history', { after: 0, limit: 10 }]])

  client.asked[0]?.answer({ floor: 1, head: 5, commits: commits(1, 5) })
  await settle()
  expect(versions(last()), 'two commits are later than the page').toEqual([1, 2, 3])

  act(() => client.show({ runs: { 'run-1': entry(run({ version: 5 }), 12) } }))
  expect(versions(last())).toEqual([1, 2, 3, 4, 5])
  expect(client.asked, 'they were known').toHaveLength(1)

  act(() => client.show({ runs: { 'run-1': entry(run({ version: 40 }), 47) } }))
  act(() => client.show({ runs: { 'run-1': entry(run({ version: 41 }), 48) } }))
  expect(client.asked.slice(1).map(({ more }) => more)).toEqual([{ after: 30, limit: 10 }])
  client.asked[1]?.answer({ floor: 1, head: 41, commits: commits(31, 40) })
  await settle()
  expect(versions(last()), 'no hole').toEqual(commits(31, 40).map(({ version }) => version))
  expect(client.asked[2]?.more, 'and on to where the view is').toEqual({ after: 40, limit: 10 })
})

test('useHistory shows the latest of a run that the view does not show', async () => {
  const client = fakeClient()
  const { last } = follow(client, 'old')
  client.asked[0]?.answer({ floor: 1, head: 30, commits: commits(1, 10) })
  await settle()
  client.asked[1]?.answer({ floor: 1, head: 30, commits: commits(21, 30) })
  await settle()
  expect(versions(last())).toEqual(commits(21, 30).map(({ version }) => version))
  expect(client.asked).toHaveLength(2)
})

test('useHistory says that it failed, and asks nothing without a run', async () => {
  const client = fakeClient()
  const { last } = follow(client)
  client.asked[0]?.refuse(new Error('away'))
  await settle()
  expect(last()?.state).toBe('failed')
  cleanup()
  follow(client, null)
  expect(client.asked).toHaveLength(1)
})

test('useStage renders for its own stage alone, and a server renders neither', () => {
  const client = fakeClient()
  client.show(showing(run()))
  const seen: unknown[] = []
  function Probe(): ReactNode {
    seen.push(useStage('run-1', 'analyzer', (record) => record.attempt))
    return <p>{useHistory('run-1').state}</p>
  }
  const page = (
    <RunstateProvider client={client}>
      <Probe />
    </RunstateProvider>
  )
  expect(renderToString(page)).toBe('<p>loading</p>')
  expect(seen).toEqual([undefined])
  render(page)
  seen.length = 0
  const stages = run().stages
  act(() => client.show({ runs: { 'run-1': entry(run({ version: 3, retry_count: 4 }), 11) } }))
  expect(seen).toEqual([])
  const begun = { ...stages, analyzer: stage({ state: 'running', attempt: 1 }) }
  act(() => client.show({ runs: { 'run-1': entry(run({ version: 4, stages: begun }), 12) } }))
  expect(seen).toEqual([1])
})
