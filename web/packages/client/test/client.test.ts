/** The shell does what the link says: sockets, timers and one view, with time and network played by the test. */
import { expect, test, vi } from 'vitest'
import { type ConnectOptions, connect, ProblemError, reached } from '../src/index.ts'
import { at, change, hello, pipeline, run, snapshot, transition } from './frames.ts'
import { eventStream, manualClock, playedFetch, playedSockets } from './world.ts'

const URL_OF_SERVER = 'http://server.test/base'

function world(options: ConnectOptions = {}) {
  const clock = manualClock()
  const { Socket, sockets } = playedSockets()
  const { fetch, asked } = playedFetch()
  const played = { clock, random: () => 0.5, fetch, WebSocket: Socket }
  const client = connect({ url: URL_OF_SERVER, ...played, ...options })
  return { client, clock, sockets, asked, socket: sockets[0] }
}

function live(options: ConnectOptions = {}) {
  const { socket, ...rest } = world(options)
  if (socket === undefined) throw new Error('no socket was opened')
  socket.say(hello(10))
  socket.say(snapshot(10, change(pipeline(1, 'r1'), at(9)), change(run(1, 'starting'), at(10))))
  return { socket, ...rest }
}

/** Let promises that are settled go on. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve()
  await vi.waitFor(() => undefined)
}

test('opens a WebSocket below the base of the url and shows the snapshot', () => {
  const { client, socket, clock } = live()

  expect(socket.url).toBe('ws://server.test/base/api/ws?topics=*')
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
  expect(sockets[1]?.url).toBe(`ws://server.test/base/api/ws?topics=*&resume=${at(10)}`)
})

test('F2: a gap is asked about on the same WebSocket, and the view says so', () => {
  const { client, socket } = live({ topics: ['pipeline:market', 'run:r1'] })

  socket.say(transition(11, 12))
  expect(client.getView().link.state).toBe('resyncing')
  expect(socket.sent).toEqual([JSON.stringify({ type: 'subscribe', topics: 'pipeline:market,run:r1' })])
  expect(client.getView().position).toBe(at(10))
})

test('F13: falls back to an event stream, by fetch', async () => {
  const { client, socket, clock, asked } = world()
  socket?.drop()
  socket?.drop()
  clock.advance(125)

  const stream = eventStream()
  asked[0]?.answer(stream.response)
  expect(asked[0]?.url).toBe('http://server.test/base/api/stream?topics=*')
  const text = `data: ${JSON.stringify(hello(10))}\n\nid: ${at(10)}\ndata: ${JSON.stringify(snapshot(10))}\n\n`
  stream.write(text.slice(0, 30))
  stream.write(text.slice(30))
  await vi.waitFor(() => expect(client.getView().link).toMatchObject({ state: 'live', transport: 'sse' }))

  stream.end()
  await vi.waitFor(() => expect(client.getView().link).toMatchObject({ state: 'resyncing', transport: null }))
  clock.advance(10_000)
  expect(asked[1]?.url).toBe(`http://server.test/base/api/stream?topics=*&resume=${encodeURIComponent(at(10))}`)
})

test('says why an event stream is refused, and goes on trying', async () => {
  const { client, clock, asked } = world({ transport: 'sse' })
  const problem = { code: 'unauthorized', title: 'a token is needed', status: 401 }
  asked[0]?.answer(Response.json(problem, { status: 401, headers: { 'retry-after': '2' } }))

  const told = { code: 'unauthorized', status: 401, detail: 'a token is needed' }
  await vi.waitFor(() => expect(client.getView().link.problem).toEqual(told))
  expect(client.getView().link.state).toBe('connecting')
  clock.advance(2124)
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

test('F11: an answer to a command never writes the store; its receipt says what to wait for', async () => {
  const { client, socket, asked } = live()
  const before = client.getView()
  const receipt = client.start('market day', { metadata: { day: 1 }, stages: ['a'] })
  const headers = { etag: `"${at(12)}"`, 'runstate-position': at(13) }
  asked[0]?.answer(Response.json(run(1, 'starting', { run_id: 'r2' }), { status: 202, headers }))

  const { position, document } = await receipt
  expect([position, document.run_id]).toEqual([at(12), 'r2'])
  expect(asked[0]?.url).toBe('http://server.test/base/api/pipelines/market%20day/start')
  expect(asked[0]?.init).toMatchObject({ method: 'POST', body: '{"metadata":{"day":1},"stages":["a"]}' })
  expect(client.getView()).toBe(before)
  expect(reached(client.getView(), position)).toBe(false)
  socket.say(transition(10, 12))
  expect(reached(client.getView(), position)).toBe(true)
})

test('a refusal is a ProblemError with its code and document', async () => {
  const { client, asked } = live()
  const refused = client.stop('r1', { reason: 'enough' })
  const problem = {
    title: 'Not allowed',
    status: 409,
    code: 'not_allowed',
    detail: 'r1 is over',
    document: run(3, 'success'),
  }
  asked[0]?.answer(Response.json(problem, { status: 409 }))

  const error = await refused.catch((caught: unknown) => caught)
  expect(error).toBeInstanceOf(ProblemError)
  expect(error).toMatchObject({
    message: 'r1 is over',
    problem: { code: 'not_allowed', status: 409, document: { version: 3 } },
  })
})

test.each([
  ['unreachable', (asked: { fail(): void } | undefined) => asked?.fail()],
  [
    'bad_answer',
    (asked: { answer(r: Response): void } | undefined) => asked?.answer(new Response('<html>', { status: 502 })),
  ],
  ['bad_answer', (asked: { answer(r: Response): void } | undefined) => asked?.answer(Response.json({}))],
] as const)('a command without a usable answer is a ProblemError: %s', async (code, play) => {
  const { client, asked } = live()
  const refused = client.start('market')
  play(asked[0] as never)

  expect(await refused.catch((caught: unknown) => caught)).toMatchObject({ problem: { code } })
})

test('lists runs', async () => {
  const { client, asked } = live()
  const list = client.listRuns({ pipeline: 'market', limit: 2, before: '7' })
  asked[0]?.answer(Response.json({ position: at(10), runs: [run(1, 'starting')], next: null }))

  expect(asked[0]?.url).toBe('http://server.test/base/api/runs?pipeline=market&limit=2&before=7')
  expect(await list).toMatchObject({ position: at(10), runs: [{ run_id: 'r1' }], next: null })
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
