/** How TypeScript runs each folder of conformance/: from a case's `input` to what must equal its `expect`. */
import { createHash } from 'node:crypto'
import { delayMs } from '../src/backoff.ts'
import { canonical, digest, InvalidValue } from '../src/canonical.ts'
import type { Json } from '../src/documents.ts'
import { type Change, type Frame, parseFrame } from '../src/frames.ts'
import { type Action, type Link, type LinkEvent, newLink, step, type Transport, wakeAt } from '../src/link.ts'
import { isMove, statusOf } from '../src/machine.ts'
import { apply, diff, Misfit } from '../src/patch.ts'
import { type Answer, newPoll, roundOf, take } from '../src/poll.ts'
import { formatPosition, type Position } from '../src/position.ts'
import { begin, newReplica, receive, resumeOf } from '../src/replica.ts'
import { retryInMs } from '../src/retry.ts'
import { feed, newSseDecoder } from '../src/sse.ts'

// What a fixture holds is checked by the schema and by the comparison with `expect`, so its type is loose here.
// biome-ignore lint/suspicious/noExplicitAny: see above
type Given = any
type Run = (given: Given, expected: Given) => unknown

function runBackoff(given: Given) {
  return { delay_ms: delayMs(given.failures, given.random) }
}

function runCanonical(given: Given) {
  return orRefused([InvalidValue, SyntaxError], () => {
    const text = canonical(JSON.parse(given.json))
    return { canonical: text, digest: digest(text) }
  })
}

function runMachine(given: Given) {
  if (given.state !== undefined) return orRefused([RangeError], () => ({ status: statusOf(given.state) }))
  const plan: readonly string[] = given.plan
  const running = plan.map((stage) => `running_${stage}`)
  const words = ['idle', 'scheduled', 'starting', ...running, 'retrying', 'success', 'failed', 'stopped']
  const rows = words.flatMap((from) =>
    (from === 'retrying' ? plan : [null]).map((stage) => [
      stage === null ? from : `${from}@${stage}`,
      words.filter((to) => isMove(plan, from, to, stage)),
    ]),
  )
  return { moves: Object.fromEntries(rows) }
}

function runPatch(given: Given) {
  return orRefused([Misfit], () =>
    given.new === undefined ? { document: apply(given.document, given.patch) } : { patch: diff(given.old, given.new) },
  )
}

function runReplica(given: Given) {
  let replica = newReplica(given.topics)
  const outcomes: string[] = []
  for (const item of given.frames) {
    if (item === 'connect' || item === 'reconnect') {
      replica = begin(replica, item === 'reconnect' && resumeOf(replica) !== null)
      continue
    }
    const [next, outcome] = receive(replica, parseFrame(message(item)))
    replica = next
    outcomes.push(outcome)
  }
  const shows = [...replica.entries].map(([key, { entry }]) => {
    const { document, version, position, digest, verified, old_state = null } = entry
    return [key, { canonical: canonical(document), version, position, digest, verified, old_state }]
  })
  return {
    outcomes,
    position: formatted(replica.position),
    resume: formatted(resumeOf(replica)),
    shows: Object.fromEntries(shows),
  }
}

function runLink(given: Given) {
  const transports: readonly [Transport, ...Transport[]] = given.transports
  let link = newLink(transports, given)
  const steps = given.timeline.map((item: Given) => {
    const [next, actions] = step(link, event(item, link), { nowMs: item.at, random: item.random ?? 0.5 })
    link = next
    return { actions: actions.map(told), state: link.state, since: link.since, wake: wakeAt(link) }
  })
  return { steps }
}

function event(item: Given, link: Link): LinkEvent {
  const generation: number = item.generation ?? link.generation
  const retryMs: number = item.retry_ms ?? 0
  switch (item.event) {
    case 'frame':
      return { kind: 'received', generation, frame: parseFrame(message(item.frame)), retryMs }
    case 'drop':
      return { kind: 'dropped', generation, trouble: item.problem ?? null, retryMs }
    default:
      return { kind: item.event }
  }
}

function told({ kind, ...rest }: Action) {
  return { do: kind, ...rest }
}

function runPoll(given: Given) {
  let state = newPoll(given.topics)
  const rounds = given.rounds.map((item: Given) => {
    const { asks, pauseMs } = roundOf(state)
    const answers = asks.map(({ path }) => answered(path, item.answers[path.join('/')]))
    const [next, frames] = take(state, answers, item.elapsed_ms ?? 0)
    state = next
    return {
      asks: asks.map(({ path, after, least, waitS }) => {
        return { path: path.join('/'), after: formatted(after), min: formatted(least), wait: waitS }
      }),
      pause_ms: pauseMs,
      frames: frames.map(toldFrame),
      ended: next.hasEnded,
    }
  })
  return { rounds }
}

function answered(path: readonly string[], item: Given): Answer {
  const body = item.document === undefined ? null : message(item.document)
  const proof = `sha-256=:${createHash('sha256')
    .update(body ?? '')
    .digest('base64')}:`
  return { path, body, tag: item.tag ?? null, proof: item.proof ?? proof, head: item.head ?? null }
}

function toldFrame(frame: Frame) {
  switch (frame.kind) {
    case 'hello':
      return { hello: frame.epoch }
    case 'snapshot':
      return { snapshot: formatPosition(frame.position), changes: frame.changes.map(toldChange) }
    case 'transition': {
      if (frame.sourceAgeMs !== null) throw new Error('plain answers do not tell')
      const [from, to] = [formatPosition(frame.from), formatPosition(frame.to)]
      return { from, to, changes: frame.changes.map(toldChange) }
    }
    default:
      return frame.kind
  }
}

function toldChange(change: Change) {
  const name = `${change.type}:${change.id}`
  if (change.kind === 'gone') return { gone: name }
  if (change.kind === 'delta') throw new Error('plain answers carry whole documents')
  const { version, digest, canonical, oldState } = change
  return { full: name, version, position: formatPosition(change.position), digest, old_state: oldState, canonical }
}

function runRetry(given: Given) {
  const { retries, status, retry_after_ms: retryAfterMs, random } = given
  return { wait_ms: retryInMs(retries, { status, retryAfterMs, random }) }
}

function runSse(given: Given, expected: Given) {
  if (given.event !== undefined) return readBack(given.event, expected)
  const stream = new TextEncoder().encode(given.stream)
  const [first, ...others] = [stream.length, 1, 2, 3, 4, 5, 6, 7].map((size) => JSON.stringify(read(stream, size)))
  for (const other of others) if (other !== first) throw new Error(`${first} is not ${other}: it depends on the cut`)
  return read(stream, stream.length)
}

/** A client writes no events: what a server is to write must be read as the event that it began with. */
function readBack({ data, id, retry_ms }: Given, { stream }: Given) {
  const found = read(new TextEncoder().encode(stream), stream.length)
  const wanted = { events: [{ data, id }], last_id: id, retry_ms }
  return JSON.stringify(found) === JSON.stringify(wanted) ? { stream } : found
}

function read(stream: Uint8Array, size: number) {
  let decoder = newSseDecoder
  const events: unknown[] = []
  for (let start = 0; start < stream.length; start += size) {
    const [next, ended] = feed(decoder, stream.subarray(start, start + size))
    decoder = next
    events.push(...ended)
  }
  return { events, last_id: decoder.lastId, retry_ms: decoder.retryMs }
}

/** A frame goes over the wire in canonical form; a text as it is. */
function message(frame: Json): string {
  return typeof frame === 'string' ? frame : canonical(frame)
}

function formatted(position: Position | null): string | null {
  return position === null ? null : formatPosition(position)
}

function orRefused(refusals: readonly (new (...args: never[]) => Error)[], run: () => unknown): unknown {
  try {
    return run()
  } catch (error) {
    if (refusals.some((refusal) => error instanceof refusal)) return { refused: true }
    throw error
  }
}

export const RUNNERS: Readonly<Record<string, Run>> = {
  backoff: runBackoff,
  canonical: runCanonical,
  link: runLink,
  machine: runMachine,
  patch: runPatch,
  poll: runPoll,
  replica: runReplica,
  retry: runRetry,
  sse: runSse,
}
