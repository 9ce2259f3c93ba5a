/**
 * The client in Node against the real server, over each transport. Driven by tests/client/test_typescript.py, which gives
 * `RUNSTATE_URL` and `RUNSTATE_TOKEN` and checks what is printed: what each transport showed, byte for byte.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { canonical } from '../src/canonical.ts'
import { type Client, connect, ProblemError, reached, type SocketClass } from '../src/index.ts'
import { agree, needed, record, until } from './seeing.ts'

const url = needed('RUNSTATE_URL')
const token = needed('RUNSTATE_TOKEN')
const transports = ['websocket', 'sse', 'long-poll'] as const
const PATIENCE_MS = 60_000

function open(transport: 'auto' | (typeof transports)[number], more: { token?: string } = { token }): Client {
  return connect({ url, transport, topics: ['pipeline:work'], WebSocket: WebSocket as unknown as SocketClass, ...more })
}

test('a run is seen alike over every transport, and a command is done when its view shows it', {
  timeout: PATIENCE_MS,
}, async () => {
  const clients = transports.map((transport) => open(transport))
  const views = await Promise.all(clients.map((client) => until(client, ({ position }) => position !== null)))
  expect(views.map(({ link }) => link.transport)).toEqual(transports)
  const records = clients.map(record)
  const [first] = clients
  if (first === undefined) throw new Error('there are three')

  const receipt = await first.start('work', { stages: ['fails'] })
  const id = String(receipt.document.run_id)
  expect(reached(first.getView(), receipt.position)).toBe(true)
  expect(first.getView().runs[id]?.version).toBeGreaterThanOrEqual(1)
  await Promise.all(clients.map((client) => until(client, ({ runs }) => runs[id]?.document.state === 'failed')))
  await expect(first.retry(id, { ifMatch: receipt.position })).rejects.toMatchObject({ problem: { code: 'conflict' } })
  const again = await first.retry(id)
  expect(reached(first.getView(), again.position)).toBe(true)
  const ends = await Promise.all(
    clients.map((client) =>
      until(client, ({ runs }) => runs[id]?.document.state === 'failed' && runs[id]?.document.retry_count === 1),
    ),
  )
  expect((await first.listRuns()).runs.map((run) => run.run_id)).toEqual([id])

  agree(records)
  const shown = ends.map(({ runs }) => canonical(runs[id]?.document as never))
  expect(new Set(shown).size).toBe(1)
  for (const client of clients) client.close()
  const file = needed('RUNSTATE_SHOWN')
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(
    file,
    JSON.stringify({ run_id: id, document: shown[0], transports: views.map((view) => view.link.transport) }),
  )
})

test('without a token each transport that can tell says `unauthorized`', { timeout: PATIENCE_MS }, async () => {
  for (const transport of ['auto', 'sse', 'long-poll'] as const) {
    const client = open(transport, {})
    const { link } = await until(client, (view) => view.link.problem)
    expect(link).toMatchObject({ state: 'connecting', problem: { code: 'unauthorized', status: 401 } })
    await expect(client.start('work')).rejects.toBeInstanceOf(ProblemError)
    await expect(client.login('no such token')).rejects.toMatchObject({ problem: { code: 'unauthorized' } })
    await client.login(token) // Node keeps no cookie, so this only shows that the token is taken
    client.close()
  }
})
