/** The last resort over a played network. */
import { createHash } from 'node:crypto'
import { expect, test, vi } from 'vitest'
import { canonical } from '../src/canonical.ts'
import { settle, world } from './connected.ts'
import { at, change, hello, run, snapshot } from './frames.ts'

function proof(body: string): string {
  return `sha-256=:${createHash('sha256').update(body).digest('base64')}:`
}

test('F13: where no stream gets through, plain answers do; a stream that works later takes over', async () => {
  const { client, clock, asked, sockets } = world({ topics: ['run:r1'] })
  const answer = (body: string | null, tag: number, head: number): Response =>
    new Response(body, {
      status: body === null ? 304 : 200,
      headers: { etag: `"${at(tag)}"`, 'runstate-position': at(head), 'repr-digest': proof(body ?? '') },
    })
  sockets[0]?.drop()
  clock.advance(125)
  asked[0]?.fail()
  await settle()
  clock.advance(250)
  expect(asked[1]?.url).toBe('http://server.test/base/api/runs/r1')
  asked[1]?.answer(answer(canonical(run(1, 'starting')), 10, 10))
  await vi.waitFor(() => expect(client.getView().link).toMatchObject({ state: 'live', transport: 'long-poll' }))
  expect(client.getView().runs.r1).toMatchObject({ version: 1, verified: true, position: at(10) })

  await vi.waitFor(() => expect(asked[2]?.url).toBe(`http://server.test/base/api/runs/r1?after=${at(10)}&wait=5`))
  asked[2]?.answer(answer(null, 10, 11))
  await vi.waitFor(() =>
    expect(client.getView()).toMatchObject({ position: at(11), link: { state: 'quiet', sourceAgeMs: null } }),
  )

  clock.advance(5000)
  for (let beat = 0; beat < 5; beat++) {
    await vi.waitFor(() => expect(asked).toHaveLength(4 + beat))
    asked[3 + beat]?.answer(answer(null, 10, 12 + beat))
    await vi.waitFor(() => expect(client.getView().position).toBe(at(12 + beat)))
    clock.advance(5000)
  }
  expect(sockets).toHaveLength(2)
  sockets[1]?.say(hello(20))
  sockets[1]?.say(snapshot(20, change(run(2, 'running_a'), at(20))))
  expect(client.getView()).toMatchObject({ position: at(20), link: { state: 'live', transport: 'websocket' } })
  expect(asked.at(-1)?.init?.signal?.aborted).toBe(true)
})
