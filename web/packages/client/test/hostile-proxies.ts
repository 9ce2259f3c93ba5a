/**
 * The client in Node behind proxies that do harm. Driven by tests/proxies/test_clients.py, which gives `RUNSTATE_WAYS`
 * (name, url and the transport that a client comes to there) and `RUNSTATE_SPEED`, and checks what is written.
 */
import { writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { canonical } from '../src/canonical.ts'
import { type Clock, connect, type SocketClass } from '../src/index.ts'
import { agree, needed, record, until } from './seeing.ts'

interface Way {
  readonly name: string
  readonly url: string
  readonly comes_to: string
}

const PATIENCE_MS = 100_000
const VERSIONS = 30
const ways = JSON.parse(needed('RUNSTATE_WAYS')) as readonly Way[]
const speed = Number(needed('RUNSTATE_SPEED'))

/** The ten seconds in which a swallowed stream is given up are less here. */
const clock: Clock = {
  now: () => performance.now() * speed,
  setTimeout: (call, delayMs) => setTimeout(call, delayMs / speed),
  clearTimeout: (timer) => clearTimeout(timer as ReturnType<typeof setTimeout>),
}

test('finds a way by itself, and is never wrong', { timeout: PATIENCE_MS }, async () => {
  const clients = ways.map(({ url }) => connect({ url, clock, WebSocket: WebSocket as unknown as SocketClass }))
  const records = clients.map(record)
  const [first, last] = [clients[0], clients.at(-1)]
  if (first === undefined || last === undefined) throw new Error('there are some')

  const id = String((await first.start()).document.run_id)
  const come = ways.map(({ comes_to }, at) =>
    until(
      clients[at] ?? first,
      ({ link, runs }) => link.transport === comes_to && (runs[id]?.version ?? 0) >= VERSIONS,
    ),
  )
  await Promise.all(come)
  await last.stop(id, { reason: 'enough' })
  const ends = await Promise.all(clients.map((one) => until(one, ({ runs }) => runs[id]?.document.state === 'stopped')))

  agree(records)
  const shown = new Set(ends.map(({ runs }) => canonical(runs[id]?.document as never)))
  expect(shown.size).toBe(1)
  for (const client of clients) client.close()
  writeFileSync(needed('RUNSTATE_SHOWN'), JSON.stringify({ run_id: id, document: [...shown][0] }))
})
