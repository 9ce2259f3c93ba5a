/** Reads beside the stream: verified, and never in the store. */
import { expect, test } from 'vitest'
import { canonical, digest } from '../src/canonical.ts'
import { live, settle } from './connected.ts'
import { at, run } from './frames.ts'

const proofOf = (hex: string) => `sha-256=:${Buffer.from(hex.slice('sha-256:'.length), 'hex').toString('base64')}:`

test.each([true, false])('H5: a version is shown with its position and whether its digest fits: %s', async (right) => {
  const { client, asked } = live()
  const before = client.getView()
  const asking = client.getRun('r1', 3)
  const text = canonical(run(3, 'running_a'))
  const proof = proofOf(digest(right ? text : `${text} `))
  asked[0]?.answer(new Response(text, { headers: { etag: `"${at(7)}"`, 'repr-digest': proof } }))

  expect(await asking).toMatchObject({ version: 3, position: at(7), digest: digest(text), verified: right })
  expect(asked[0]?.url).toBe('http://server.test/base/api/runs/r1/versions/3')
  expect(client.getView(), 'F11').toBe(before)
})

test('H6, H8: pages of a history and of a log, and their refusals', async () => {
  const { client, asked } = live()
  const history = client.getHistory('r1', { after: 2, limit: 5 })
  const log = client.getLog('r1', { after: 90 })
  const refused = client.getHistory('r2')
  asked[0]?.answer(Response.json({ floor: 1, head: 9, commits: [] }))
  asked[1]?.answer(Response.json({ first: 40, next: 120, lines: [] }))
  asked[2]?.answer(Response.json({ code: 'not_found', status: 404 }, { status: 404 }))

  expect([(await history).head, (await log).next]).toEqual([9, 120])
  await expect(refused).rejects.toMatchObject({ problem: { code: 'not_found' } })
  expect(asked.map(({ url }) => url.split('/api/')[1])).toEqual([
    'runs/r1/history?after=2&limit=5',
    'runs/r1/logs?after=90',
    'runs/r2/history',
  ])
})

test('H8: a log is followed line by line, wherever the network cuts it, to its end', async () => {
  const { client, asked } = live()
  const heard: number[] = []
  const signal = new AbortController().signal
  const done = client.followLog('r1', { after: 4, signal, lines: (lines) => heard.push(...lines.map((l) => l.offset)) })
  const text =
    'id: 9\ndata: {"offset":9,"text":"a"}\n\ndata: {"lines":[]}\n\nid: 12\ndata: {"offset":12,"text":"b"}\n\n'
  const bytes = new TextEncoder().encode(text)
  const body = new ReadableStream({
    start(out) {
      for (const part of [bytes.slice(0, 15), bytes.slice(15, 60), bytes.slice(60)]) out.enqueue(part)
      out.close()
    },
  })
  asked[0]?.answer(new Response(body))
  await done
  expect(heard).toEqual([9, 12])
  expect(asked[0]?.url).toContain('/api/runs/r1/logs?after=4&follow=1')
})

test('a schedule is put and a health block acknowledged, each with the position it was seen at', async () => {
  const { client, asked } = live()
  void client.schedule('market', { enabled: false }, { ifMatch: at(9) })
  void client.acknowledge('market', { reason: 'disk replaced' })
  await settle()
  expect(asked.map(({ url, init }) => [init?.method, url.split('/api/')[1], init?.body])).toEqual([
    ['PUT', 'pipelines/market/schedule', '{"enabled":false}'],
    ['POST', 'pipelines/market/acknowledge', '{"reason":"disk replaced"}'],
  ])
  expect(asked[0]?.init?.headers).toMatchObject({ 'if-match': `"${at(9)}"` })
})
