import type { View } from '@runstate/client'
import { act, cleanup, render } from '@testing-library/react'
import { type ReactNode, StrictMode } from 'react'
import { hydrateRoot, type Root } from 'react-dom/client'
import { renderToString } from 'react-dom/server'
import { afterEach, describe, expect, test } from 'vitest'
import { RunstateProvider, useLink, usePipelineState, usePipelines, useRun, useView } from '../src/index.ts'
import { entry, fakeClient, pipeline, run, showing, stage } from './fake-client.ts'

afterEach(cleanup)

/** Mount `useSomething` and return what it gave at each render, latest last; `again` renders once more. */
function mount<T>(client: ReturnType<typeof fakeClient>, useSomething: () => T) {
  const seen: T[] = []
  function Probe(): ReactNode {
    seen.push(useSomething())
    return null
  }
  // A new element each time: React skips one that it has seen.
  const page = () => (
    <RunstateProvider client={client}>
      <Probe />
    </RunstateProvider>
  )
  const { rerender } = render(page())
  return { seen, last: () => seen.at(-1) as T, again: () => rerender(page()) }
}

describe('usePipelineState', () => {
  test('gives the current run document, member by member, plus the link', () => {
    const client = fakeClient()
    const document = run({ state: 'running_analyzer', current_stage: 'analyzer', metadata: { as_of: '2011-04-01' } })
    client.show(showing(document))

    const { last } = mount(client, () => usePipelineState('market'))

    const { link, ...members } = last()
    expect(members).toEqual(document)
    expect(last().stages).toBe(document.stages)
    expect(last().metadata).toBe(document.metadata)
    expect(link).toBe(client.getView().link)
  })

  test('guesses nothing before the first snapshot: every member is there and null', () => {
    const { last } = mount(fakeClient(), () => usePipelineState('market'))

    const { link, ...members } = last()
    expect(new Set(Object.values(members))).toEqual(new Set([null]))
    expect(Object.keys(members).sort()).toEqual(Object.keys(run()).sort())
    expect(link.state).toBe('connecting')
  })

  test('gives the D5 document for a pipeline that has never run', () => {
    const client = fakeClient()
    client.show(showing(null))

    const { last } = mount(client, () => usePipelineState('market'))

    expect(last()).toMatchObject({
      run_id: null,
      version: 0,
      state: 'idle',
      status: 'idle',
      pipeline: 'market',
      trigger: null,
      metadata: {},
      started_at: null,
      updated_at: null,
      stage_order: ['translator', 'analyzer', 'merger'],
      stages: { translator: stage(), analyzer: stage(), merger: stage() },
    })
    expect(Object.keys(last()).sort()).toEqual([...Object.keys(run()), 'link'].sort())
  })

  test('follows to the next run', () => {
    const client = fakeClient()
    client.show(showing(run({ run_id: 'run-1', state: 'success', status: 'idle' })))
    const { last } = mount(client, () => usePipelineState('market'))

    act(() => client.show(showing(run({ run_id: 'run-2', version: 1, state: 'starting' }), 11)))

    expect(last()).toMatchObject({ run_id: 'run-2', version: 1, state: 'starting' })
  })

  test('without a name shows the first pipeline, and an unknown name shows nothing known', () => {
    const client = fakeClient()
    client.show(showing(run()))

    expect(mount(client, () => usePipelineState()).last().pipeline).toBe('market')
    expect(mount(client, () => usePipelineState('nope')).last().state).toBeNull()
  })

  test('renders once per transition that concerns it, and not at all for others', () => {
    const client = fakeClient()
    client.show(showing(run()))
    const { seen } = mount(client, () => usePipelineState('market'))
    expect(seen).toHaveLength(1)

    act(() => client.show({ position: '1795442496-88a9e774.11' }))
    act(() =>
      client.show({ pipelines: { ...client.getView().pipelines, other: entry(pipeline({ pipeline: 'other' })) } }),
    )
    expect(seen).toHaveLength(1)

    act(() => client.show({ runs: { 'run-1': entry(run({ version: 3 }), 12) } }))
    expect(seen).toHaveLength(2)
  })
})

describe('useRun, useLink, usePipelines, useView', () => {
  test('a selector narrows what a component waits for', () => {
    const client = fakeClient()
    client.show(showing(run()))
    const { seen, last } = mount(client, () => useRun('run-1', (document) => document.state))

    act(() => client.show({ runs: { 'run-1': entry(run({ version: 3 }), 11) } }))
    expect(seen).toEqual(['running_translator'])

    act(() => client.show({ runs: { 'run-1': entry(run({ version: 4, state: 'running_analyzer' }), 12) } }))
    expect(last()).toBe('running_analyzer')
  })

  test('a run that the stream does not show is undefined', () => {
    expect(mount(fakeClient(), () => useRun('gone')).last()).toBeUndefined()
    expect(mount(fakeClient(), () => useRun(null)).last()).toBeUndefined()
  })

  test('an inline selector that builds a new array each time neither loops nor renders twice', () => {
    const client = fakeClient()
    client.show(showing(run()))
    const { seen } = mount(client, () => useView((view) => Object.keys(view.runs)))

    act(() => client.show({ position: '1795442496-88a9e774.99' }))

    expect(seen).toEqual([['run-1']])
  })

  test('a selection that is new all the way down is made once per view, so that React sees one snapshot', () => {
    const client = fakeClient()
    client.show(showing(run()))
    const { seen } = mount(client, () => useView((view) => ({ deep: { runs: Object.keys(view.runs) } })))

    act(() => client.show({ position: '1795442496-88a9e774.99' }))

    expect(seen).toHaveLength(2)
  })

  test('an equal selection keeps its identity over renders that have another cause', () => {
    const client = fakeClient()
    client.show(showing(run()))
    const { seen, again } = mount(client, () => useView((view) => Object.keys(view.runs)))

    again()

    expect(seen).toHaveLength(2)
    expect(seen[1]).toBe(seen[0])
  })

  test('the pipelines keep their identity while none of them changes', () => {
    const client = fakeClient()
    client.show(showing(run()))
    const { seen, last } = mount(client, usePipelines)

    act(() => client.show({ runs: { 'run-1': entry(run({ version: 3 }), 11) } }))

    expect(seen).toHaveLength(1)
    expect(last()).toEqual([pipeline({ current_run_id: 'run-1' })])
  })

  test('the link passes as it is', () => {
    const client = fakeClient()
    const { last } = mount(client, useLink)
    const stale: View['link'] = { ...client.getView().link, state: 'stale', lastFrameAt: 5 }

    act(() => client.show({ link: stale }))

    expect(last()).toBe(stale)
  })

  test('a hook outside a provider says what to do', () => {
    function Lost(): ReactNode {
      useLink()
      return null
    }
    expect(() => renderToString(<Lost />)).toThrow('<RunstateProvider client={connect()}>')
  })
})

describe('React around it', () => {
  function Line(): ReactNode {
    const { state } = usePipelineState('market')
    return <p>{state ?? 'unknown'}</p>
  }

  test('StrictMode shows every change and leaves no listener behind', () => {
    const client = fakeClient()
    const page = render(
      <StrictMode>
        <RunstateProvider client={client}>
          <Line />
        </RunstateProvider>
      </StrictMode>,
    )
    expect(page.container.textContent).toBe('unknown')

    act(() => client.show(showing(run())))
    act(() => client.show({ runs: { 'run-1': entry(run({ state: 'success', status: 'idle' }), 12) } }))
    expect(page.container.textContent).toBe('success')

    page.unmount()
    expect(client.listeners).toBe(0)
  })

  test('a server renders nothing known, and hydration accepts it although the client already knows more', () => {
    const client = fakeClient()
    client.show(showing(run()))
    const app = (
      <RunstateProvider client={client}>
        <Line />
      </RunstateProvider>
    )
    const html = renderToString(app)
    expect(html).toBe('<p>unknown</p>')

    const container = document.createElement('div')
    container.innerHTML = html
    const complaints: unknown[] = []
    let root: Root | undefined
    act(() => {
      root = hydrateRoot(container, app, { onRecoverableError: (error) => complaints.push(error) })
    })

    expect(container.textContent).toBe('running_translator')
    expect(complaints).toEqual([])
    act(() => root?.unmount())
  })

  test('all components of one render read one moment', () => {
    const client = fakeClient()
    client.show(showing(run()))
    const pairs = new Set<string>()
    function Pair(): ReactNode {
      const state = usePipelineState('market')
      const position = useView((view) => view.position)
      pairs.add(`${position?.split('.')[1]}/${state.version}`)
      return null
    }
    render(
      <RunstateProvider client={client}>
        <Pair />
      </RunstateProvider>,
    )

    for (const n of [11, 12, 13]) act(() => client.show(showing(run({ version: n - 8 }), n)))

    expect([...pairs]).toEqual(['10/2', '11/3', '12/4', '13/5'])
  })
})
