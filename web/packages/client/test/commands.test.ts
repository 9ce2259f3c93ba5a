/** Commands, lists and tokens: answers go to their caller, and come once whatever the network does. */
import { expect, test, vi } from 'vitest'
import { ProblemError, reached } from '../src/index.ts'
import { live, settle, world } from './connected.ts'
import { at, run, transition } from './frames.ts'

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

test('C3: a command that nobody answered, or that met a 503, is sent again under the same key, and then given up', async () => {
  const { client, asked, clock } = live()
  const refused = client.retry('r1', { ifMatch: at(10) }).catch((caught: unknown) => caught)
  for (const [tries, wait] of [
    [1, 125],
    [2, 1250],
    [3, 500],
  ] as const) {
    await vi.waitFor(() => expect(asked).toHaveLength(tries))
    const problem = { code: 'unavailable', title: 'draining', status: 503 }
    if (tries === 2) asked[1]?.answer(Response.json(problem, { status: 503, headers: { 'retry-after': '1' } }))
    else asked[tries - 1]?.fail()
    await settle()
    clock.advance(wait)
  }
  await vi.waitFor(() => expect(asked).toHaveLength(4))
  asked[3]?.fail()

  expect(await refused).toMatchObject({ problem: { code: 'unreachable' } })
  const headers = asked.map(({ init }) => new Headers(init?.headers))
  expect(new Set(headers.map((sent) => sent.get('idempotency-key'))).size).toBe(1)
  expect(headers[0]?.get('idempotency-key')).toMatch(/^[0-9a-f]{32}$/)
  expect(headers[0]?.get('if-match')).toBe(`"${at(10)}"`)
  expect(asked[0]?.url).toBe('http://server.test/base/api/runs/r1/retry')
})

test('settled: a command is done once the view shows it; lists after it are not older', async () => {
  const { client, socket, asked } = live()
  const ordered = client.start('market')
  asked[0]?.answer(
    Response.json(run(1, 'starting', { run_id: 'r2' }), { status: 202, headers: { etag: `"${at(12)}"` } }),
  )
  const receipt = await ordered
  const told = vi.fn()
  const settled = client.settled(receipt).then(told)
  void client.listRuns()
  expect(asked[1]?.url).toBe(`http://server.test/base/api/runs?min=${at(12)}`)

  socket.say(transition(10, 11))
  await settle()
  expect(told).not.toHaveBeenCalled()
  socket.say(transition(11, 12))
  await settled
  await client.settled(receipt)
})

test('settled: a client that is closed shows nothing more', async () => {
  const { client, clock } = live()
  const receipt = { position: at(12), document: {} as never }
  clock.advance(15_000)
  const refused = client.settled(receipt)
  client.close()

  await expect(refused).rejects.toMatchObject({ problem: { code: 'unreachable' } })
})

test('a token goes with every request; a WebSocket class that takes headers is given it', async () => {
  const { asked, client } = world({ transport: 'sse', token: 'secret-T' })
  void client.start('market').catch(() => undefined)
  expect(asked.map(({ init }) => new Headers(init?.headers).get('authorization'))).toEqual(
    Array(2).fill('Bearer secret-T'),
  )

  const given: unknown[] = []
  class Taking {
    constructor(...args: unknown[]) {
      given.push(args[1])
    }
    addEventListener(): void {}
    send(): void {}
    close(): void {}
  }
  world({ token: 'secret-T', WebSocket: Taking })
  expect(given).toEqual([{ headers: { authorization: 'Bearer secret-T' } }])
})

test('login trades a token for a session, and ends the wait of a refused link', async () => {
  const { client, asked } = world({ transport: 'sse' })
  asked[0]?.answer(Response.json({ code: 'unauthorized', title: 'a token is needed' }, { status: 401 }))
  await vi.waitFor(() => expect(client.getView().link.problem?.code).toBe('unauthorized'))

  const wrong = client.login('wrong')
  asked[1]?.answer(Response.json({ code: 'unauthorized', title: 'not valid' }, { status: 401 }))
  await expect(wrong).rejects.toMatchObject({ problem: { code: 'unauthorized' } })
  expect(asked).toHaveLength(2)

  const right = client.login('right')
  asked[2]?.answer(new Response(null, { status: 204 }))
  await right
  expect(asked[2]).toMatchObject({
    url: 'http://server.test/base/api/session',
    init: { method: 'POST', body: '{"token":"right"}' },
  })
  expect(asked[3]?.url).toContain('/api/stream')
})
