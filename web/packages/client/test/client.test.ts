/** The shell does what the link says: sockets, timers and one view, with time and network played by the test. */
import { expect, test, vi } from 'vitest'
import { connect } from '../src/index.ts'
import { live, settle, URL_OF_SERVER, world } from './connected.ts'
import { at, change, hello, pipeline, run, snapshot, transition } from './frames.ts'
import { eventStream, manualClock, playedFetch } from './world.ts'

test('opens a WebSocket below the base of the url and shows the snapshot', () => {
  const { client, socket, clock } = live()

  expect(socket.url).toBe('ws://server.test/base/api/ws?topics=*&delta=1')
  expect(client.getView()).toMatchObject({
    link: { state: 'live', since: clock.now(), lastFrameAt: clock.now(), sourceAgeMs: null, transport: 'websocket' },
    position: at(10),
    pipelines: { market: { version: 1, verified: true, document: { current_run_id: 'r1' } } },
    runs: { r1: { version: 1, verified: true, old_state: 'starting', document: { state: 'starting' } } },
  })
})

test('F5: a transition changes the view once, and listeners are told once', () => {
  const { client, socket } = live()
  const listener = vi.fn()
  const stop = client.subscribe(listener)

  socket.say(transition(10, 11, change(pipeline(2, 'r1'), at(11)), change(run(2, 'running_a'), at(11))))
  expect(listener).toHaveBeenCalledTimes(1)
  expect(client.getView().runs.r1?.document.state).toBe('running_a')

  stop()
  socket.say(transition(11, 12))
  expect(listener).toHaveBeenCalledTimes(1)
})

test('what did not change keeps its identity', () => {
  const { client, socket } = live()
  const before = client.getView()

  socket.say(transition(10, 11, change(run(2, 'running_a'), at(11))))
  const after = client.getView()
  expect(after.pipelines).toBe(before.pipelines)
  expect(after.runs.r1).not.toBe(before.runs.r1)
  expect(after.runs.r1?.document.stages).toBe(before.runs.r1?.document.stages)

  socket.say(transition(11, 11))
  expect(client.getView().runs).toBe(after.runs)
  expect(client.getView()).toBe(client.getView())
})

test('F12: the view goes stale by itself, and the dead connection is left', () => {
  const { client, socket, clock, sockets } = live()
  const listener = vi.fn()
  client.subscribe(listener)

  clock.advance(14_999)
  expect(client.getView().link.state).toBe('live')
  clock.advance(1)
  expect(client.getView().link).toMatchObject({ state: 'stale', transport: null })
  expect(socket.closed).toBe(true)
  expect(listener).toHaveBeenCalledTimes(1)

  clock.advance(125)
  expect(sockets[1]?.url).toBe(`ws://server.test/base/api/ws?topics=*&resume=${at(10)}&delta=1`)
})

test('F2: a gap is asked about on the same WebSocket, and the view says so', () => {
  const { client, socket } = live({ topics: ['pipeline:market', 'run:r1'] })

  socket.say(transition(11, 12))
  expect(client.getView().link.state).toBe('resyncing')
  expect(socket.sent).toEqual([JSON.stringify({ type: 'subscribe', topics: 'pipeline:market,run:r1', delta: '1' })])
  expect(client.getView().position).toBe(at(10))
})

test('F13: falls back to an event stream, by fetch', async () => {
  const { client, socket, clock, asked } = world()
  socket?.drop()
  socket?.drop()
  clock.advance(125)

  const stream = eventStream()
  asked[0]?.answer(stream.response)
  expect(asked[0]?.url).toBe('http://server.test/base/api/stream?topics=*&delta=1')
  const text = `data: ${JSON.stringify(hello(10))}\n\nid: ${at(10)}\ndata: ${JSON.stringify(snapshot(10))}\n\n`
  stream.write(text.slice(0, 30))
  stream.write(text.slice(30))
  await vi.waitFor(() => expect(client.getView().link).toMatchObject({ state: 'live', transport: 'sse' }))

  stream.end()
  await vi.waitFor(() => expect(client.getView().link).toMatchObject({ state: 'resyncing', transport: null }))
  clock.advance(10_000)
  expect(asked[1]?.url).toBe(`http://server.test/base/api/stream?topics=*&resume=${encodeURIComponent(at(10))}&delta=1`)
})

test('says why an event stream is refused, and goes on trying, but not soon', async () => {
  const { client, clock, asked } = world({ transport: 'sse' })
  const problem = { code: 'unauthorized', title: 'a token is needed', status: 401 }
  asked[0]?.answer(Response.json(problem, { status: 401, headers: { 'retry-after': '2' } }))

  const told = { code: 'unauthorized', status: 401, detail: 'a token is needed' }
  await vi.waitFor(() => expect(client.getView().link.problem).toEqual(told))
  expect(client.getView().link.state).toBe('connecting')
  clock.advance(30_124)
  expect(asked).toHaveLength(1)
  clock.advance(1)
  expect(asked).toHaveLength(2)
})

test('a network that fails is tried again', async () => {
  const { clock, asked } = world({ transport: 'sse' })
  asked[0]?.fail()
  await settle()
  clock.advance(125)

  expect(asked).toHaveLength(2)
})

test('a closed client disconnects, and its view is stale', () => {
  const { client, socket, clock, sockets } = live()
  client.close()

  expect(socket.closed).toBe(true)
  expect(client.getView().link.state).toBe('stale')
  clock.advance(1_000_000)
  expect(sockets).toHaveLength(1)
})

test('what an old socket still says is dropped', () => {
  const { client, socket, clock, sockets } = live()
  socket.drop()
  clock.advance(125)
  socket.say(transition(10, 11, change(run(2, 'running_a'), at(11))))
  expect(client.getView().position).toBe(at(10))

  sockets[1]?.say(hello(11))
  sockets[1]?.say(transition(10, 11, change(run(2, 'running_a'), at(11))))
  expect(client.getView()).toMatchObject({ position: at(11), link: { state: 'live' } })
})

test('without a WebSocket class there are event streams only', () => {
  const { fetch, asked } = playedFetch()
  vi.stubGlobal('WebSocket', undefined)
  const client = connect({ url: URL_OF_SERVER, clock: manualClock(), fetch })
  vi.unstubAllGlobals()

  expect(asked).toHaveLength(1)
  client.close()
})

test('outside a browser a url is needed', () => {
  expect(() => connect()).toThrow('needs a url')
})

test('an address that the browser refuses at once is a failed try', async () => {
  class Refusing {
    constructor() {
      throw new SyntaxError('mixed content')
    }
  }
  const { clock, asked } = world({ WebSocket: Refusing as never })
  await settle()
  clock.advance(125)

  expect(asked).toHaveLength(1)
})
