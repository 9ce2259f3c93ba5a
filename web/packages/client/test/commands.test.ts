/** Commands, lists and tokens: answers go to their caller, and come once whatever the network does. */
import { expect, test, vi } from 'vitest'
import { ProblemError, reached } from '../src/index.ts'
import { live, settle, world } from './connected.ts'
import { at, run, transition } from './frames.ts'

test('F11: an answer never writes the store; a command is done when the view shows it', async () => {
  const { client, socket, asked } = live()
  const before = client.getView()
  const done = vi.fn()
  const ordered = client.start('market day', { metadata: { day: 1 }, stages: ['a'] })
  void ordered.then(done)
  const headers = { etag: `"${at(12)}"`, 'runstate-position': at(13) }
  asked[0]?.answer(Response.json(run(1, 'starting', { run_id: 'r2' }), { status: 202, headers }))
  await settle()

  expect(asked[0]?.url).toBe('http://server.test/base/api/pipelines/market%20day/start')
  expect(asked[0]?.init).toMatchObject({ method: 'POST', body: '{"metadata":{"day":1},"stages":["a"]}' })
  expect(client.getView()).toBe(before)
  socket.say(transition(10, 11))
  await settle()
  expect(done).not.toHaveBeenCalled()

  socket.say(transition(11, 12))
  const { position, document } = await ordered
  expect([position, document.run_id]).toEqual([at(12), 'r2'])
  expect(reached(client.getView(), position)).toBe(true)
})

test.each([
  ['went stale', ({ clock }: ReturnType<typeof live>) => clock.advance(15_000)],
  ['was closed', ({ client }: ReturnType<typeof live>) => client.close()],
] as const)('nobody waits for a view that %s: the command was taken', async (_, play) => {
  const played = live()
  const ordered = played.client.stop('r1')
  played.asked[0]?.answer(Response.json(run(2, 'starting'), { status: 202, headers: { etag: `"${at(12)}"` } }))
  await settle()
  play(played)

  expect((await ordered).position).toBe(at(12))
})

test('without a name it is the first pipeline', async () => {
  const { client, asked } = live()
  void client.start()
  void client.start(null, { metadata: { day: 1 } })
  void client.getStatus()
  void client.getStatus('market day')
  await settle()

  expect(asked.map(({ url }) => url.split('/api/')[1])).toEqual([
    'pipeline/start',
    'pipeline/start',
    'pipeline/status',
    'pipelines/market%20day/status',
  ])
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

test('H4: what is read after a command is not older than it', async () => {
  const { client, socket, asked } = live()
  const ordered = client.start('market')
  asked[0]?.answer(
    Response.json(run(1, 'starting', { run_id: 'r2' }), { status: 202, headers: { etag: `"${at(12)}"` } }),
  )
  socket.say(transition(10, 12))
  await ordered
  void client.listRuns()
  void client.getStatus()
  void client.getRun('r2')
  void client.getRun('r2', 1)
  void client.getHistory('r2', { after: 0 })

  expect(asked.slice(1).map(({ url }) => url.split('/api/')[1])).toEqual([
    `runs?min=${at(12)}`,
    `pipeline/status?min=${at(12)}`,
    `runs/r2?min=${at(12)}`,
    'runs/r2/versions/1',
    `runs/r2/history?min=${at(12)}&after=0`,
  ])
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
