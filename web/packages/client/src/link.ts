/**
 * One client's connection: what to do next, and what to tell the person who looks (PROTOCOL F6, F10, F12, F13).
 *
 *     idle ──start──▶ connecting ──first frame──▶ open ──bye, drop, silence, leave───▶ waiting ──tick──▶ connecting …
 *                                                  ├─ resync: ask in-line (WebSocket), or anew without resume (others)
 *                                                  └─ long-poll: now and then a stream is tried beside it (`rising`)
 *
 * Law: `step` takes what happened, the time and a random number, and returns the next link and the actions for the
 * shell. A shell holds one socket per generation that it was told to connect (two at most) and one timer for `wakeAt`,
 * and no rule. What a socket of an earlier generation still says is dropped. No request is repeated without a wait
 * (`backoff.ts`), and there is no last try.
 *
 * Which loops could spin, and what stops them: connecting (`failures`, reset only by a connection that lived for a
 * heartbeat) and asking for snapshots (`asks`, reset only by a step applied a heartbeat after the last ask).
 */
import { delayMs } from './backoff.ts'
import type { Frame } from './frames.ts'
import type { Action, Connect, Link, LinkEvent, LinkState, Transport } from './link-values.ts'
import { formatPosition } from './position.ts'
import { begin, isDoubtful, receive, resumeOf } from './replica.ts'

export type { Action, Connect, Link, LinkEvent, LinkState, Transport } from './link-values.ts'
export { newLink } from './link-values.ts'

const PROTOCOL = 1
const HELLO_WITHIN_MS = 10_000 // a proxy may swallow an upgrade and say nothing
const PATIENCE = 3 // heartbeats without a useful frame until a view is stale and a connection dead (F12)
const RISE_AFTER_MS = 30_000 // how long a long-poll goes on until a stream is tried again
const REFUSED_MS = 30_000 // the least wait after a token was refused: only a person can change that
const TRIES_OF_PROVEN = 4 // in a row, until a long-poll takes the place of a stream that has worked
const UNAUTHORIZED = 401
const EXPIRED = 'the token that opened this stream is not valid any more'

const NOT_RISING = { rising: null, riseAt: null } as const

interface Moment {
  readonly nowMs: number
  /** Drawn evenly from [0, 1), anew for each step. */
  readonly random: number
}

type Step = readonly [Link, readonly Action[]]

/** Return when the shell must send a tick if nothing else happens; null: never. */
export function wakeAt(link: Link): number | null {
  if (link.phase === 'idle' || link.phase === 'stopped') return null
  const own = {
    waiting: link.connectAt,
    connecting: link.connectedAt + HELLO_WITHIN_MS,
    open: link.heardAt + patience(link),
  }[link.phase]
  const staleAt = link.confirmedAt === null || link.state === 'stale' ? null : link.confirmedAt + patience(link)
  return Math.min(...[own, link.askAt, link.riseAt, staleAt].filter((at) => at !== null))
}

/** Return the link after `event`, and what the shell is to do, in order. */
export function step(before: Link, event: LinkEvent, now: Moment): Step {
  const [link, actions] = decide(before, event, now)
  const state = stateOf(link, now.nowMs)
  return [state === link.state ? link : { ...link, state, since: now.nowMs }, actions]
}

function decide(link: Link, event: LinkEvent, now: Moment): Step {
  switch (event.kind) {
    case 'start':
      return link.phase === 'idle' ? connect({ ...link, since: now.nowMs }, now) : [link, []]
    case 'received':
      if (link.rising?.generation === event.generation) return rise(link, link.rising, event, now)
      if (!isCurrent(link, event.generation)) return [link, []]
      return received({ ...link, retryMs: event.retryMs }, event.frame, now)
    case 'dropped': {
      if (link.rising?.generation === event.generation) {
        return [{ ...link, rising: null, riseAt: now.nowMs + RISE_AFTER_MS }, []]
      }
      if (!isCurrent(link, event.generation)) return [link, []]
      const retryMs = Math.max(link.retryMs, event.retryMs)
      return [wait({ ...link, trouble: event.trouble, retryMs }, now), disconnectRising(link)]
    }
    case 'tick':
      return tick(link, now)
    case 'retry':
      return link.phase === 'waiting' ? connect({ ...link, transport: link.transports[0] }, now) : [link, []]
    case 'stop':
      if (link.phase === 'stopped') return [link, []]
      return [{ ...link, ...NOT_RISING, phase: 'stopped', askAt: null, connectAt: null }, disconnect(link)]
  }
}

function received(before: Link, frame: Frame, now: Moment): Step {
  const [replica, outcome] = receive(before.replica, frame)
  let link: Link = { ...before, replica }
  switch (frame.kind) {
    case 'hello':
      if (frame.protocol !== PROTOCOL) {
        const detail = `the server speaks protocol ${frame.protocol}, this client ${PROTOCOL}`
        return leave({ ...link, trouble: { code: 'protocol', status: 0, detail } }, now)
      }
      link = { ...link, heartbeatMs: frame.heartbeatMs }
      break
    case 'bye': {
      const refused = { code: 'unauthorized', status: UNAUTHORIZED, detail: EXPIRED }
      return leave({ ...link, retryMs: frame.retryMs, trouble: frame.code === 'auth' ? refused : null }, now)
    }
    case 'problem':
      // Our own later `subscribe` was refused, so the snapshot will not come on this connection.
      return leave({ ...link, trouble: frame.trouble }, now)
    case 'transition':
      if (outcome === 'applied') {
        link = { ...link, sourceAgeMs: frame.sourceAgeMs, isQuiet: frame.changes.length === 0 }
      }
      break
    case 'snapshot':
      link = { ...link, isQuiet: false }
  }
  if (link.phase === 'connecting' && frame.kind !== 'unreadable') {
    const proven = [...new Set([...link.proven, link.transport])]
    const riseAt = betterThan(link).length > 0 ? now.nowMs + RISE_AFTER_MS : null
    link = { ...link, phase: 'open', heardAt: now.nowMs, trouble: null, proven, riseAt, rises: 0 }
  }
  switch (outcome) {
    case 'applied':
      return [confirmed(link, now.nowMs), []]
    case 'part':
      return [{ ...link, heardAt: now.nowMs }, []]
    case 'ignored':
      return [link, []]
    case 'resync':
      return ask(link, now)
    case 'leave':
      return leave(link, now)
  }
}

function confirmed(link: Link, nowMs: number): Link {
  const lived = nowMs - link.connectedAt >= link.heartbeatMs
  const calm = link.askedAt === null || nowMs - link.askedAt >= link.heartbeatMs
  const [failures, asks] = [lived ? 0 : link.failures, calm ? 0 : link.asks]
  return { ...link, heardAt: nowMs, confirmedAt: nowMs, askAt: null, failures, asks }
}

/** Ask for a snapshot: at once the first time, after a wait when that did not help. */
function ask(before: Link, { nowMs, random }: Moment): Step {
  if (before.askAt !== null) return [before, []]
  const waitMs = before.asks === 0 ? 0 : delayMs(before.asks - 1, random)
  const link = { ...before, asks: before.asks + 1, askedAt: nowMs + waitMs }
  if (link.transport !== 'websocket') {
    // Nobody hears us: only a new connection can ask.
    return [{ ...link, ...NOT_RISING, phase: 'waiting', connectAt: nowMs + waitMs, askAt: null }, disconnect(link)]
  }
  if (waitMs === 0) return [link, [resync(link)]]
  return [{ ...link, askAt: nowMs + waitMs }, []]
}

function tick(link: Link, now: Moment): Step {
  const { nowMs } = now
  if (link.phase === 'waiting' && link.connectAt !== null && nowMs >= link.connectAt) return connect(link, now)
  if (link.phase === 'connecting' && nowMs >= link.connectedAt + HELLO_WITHIN_MS) return leave(link, now)
  if (link.phase === 'open' && nowMs >= link.heardAt + patience(link)) return leave(link, now)
  if (link.phase === 'open' && link.askAt !== null && nowMs >= link.askAt) {
    return [{ ...link, askAt: null }, [resync(link)]]
  }
  if (link.phase === 'open' && link.riseAt !== null && nowMs >= link.riseAt) return tryToRise(link, now)
  return [link, []]
}

/** Open a stream beside the long-poll, the better ones by turns; or give up the one that has said nothing. */
function tryToRise(link: Link, { nowMs }: Moment): Step {
  if (link.rising !== null) return [{ ...link, rising: null, riseAt: nowMs + RISE_AFTER_MS }, disconnectRising(link)]
  const better = betterThan(link)
  const generation = Math.max(link.generation, link.latest) + 1
  const transport = better[link.rises % better.length] ?? link.transports[0]
  // Without `resume`: by the time it answers, the long-poll will have gone on.
  const rising: Connect = { kind: 'connect', generation, transport, resume: null, delta: wantsDelta(link) }
  return [{ ...link, rising, rises: link.rises + 1, latest: generation, riseAt: nowMs + HELLO_WITHIN_MS }, [rising]]
}

/** Go over to the stream that has spoken. */
function rise(
  before: Link,
  { generation, transport }: Connect,
  event: LinkEvent & { kind: 'received' },
  now: Moment,
): Step {
  if (event.frame.kind === 'unreadable') {
    return [{ ...before, rising: null, riseAt: now.nowMs + RISE_AFTER_MS }, disconnectRising(before)]
  }
  const { replica, ...rest } = { ...before, ...NOT_RISING, generation, transport, askAt: null }
  const begun = { phase: 'connecting', connectedAt: now.nowMs, retryMs: event.retryMs } as const
  const [link, actions] = received({ ...rest, ...begun, replica: begin(replica, false) }, event.frame, now)
  return [link, [{ kind: 'disconnect', generation: before.generation }, ...actions]]
}

function connect(before: Link, { nowMs }: Moment): Step {
  const resume = resumeOf(before.replica)
  const next = Math.max(before.generation, before.latest) + 1
  const link: Link = {
    ...before,
    phase: 'connecting',
    generation: next,
    latest: next,
    replica: begin(before.replica, resume !== null),
    connectAt: null,
    connectedAt: nowMs,
    retryMs: 0,
  }
  const { generation, transport } = link
  const named = resume === null ? null : formatPosition(resume)
  return [link, [{ kind: 'connect', generation, transport, resume: named, delta: wantsDelta(link) }]]
}

function leave(link: Link, now: Moment): Step {
  return [wait(link, now), disconnect(link)]
}

/** Return the link on its way to the next try. The server's `retryMs` is the least; the jitter comes on top. */
function wait(link: Link, { nowMs, random }: Moment): Link {
  const leastMs = isRefused(link) ? Math.max(link.retryMs, REFUSED_MS) : link.retryMs
  return {
    ...link,
    ...NOT_RISING,
    phase: 'waiting',
    transport: nextTransport(link),
    failures: link.failures + 1,
    connectAt: nowMs + leastMs + delayMs(link.failures, random),
    askAt: null,
  }
}

/** F13: from a try that brought no frame on to the next; from a good connection back to the best if it is proven. */
function nextTransport(link: Link): Transport {
  const { phase, transport, transports, proven, failures } = link
  const [first] = transports
  if (isRefused(link)) return transport // it gets through, and can tell: a browser's WebSocket cannot
  if (phase === 'open') return proven.includes(first) ? first : transport
  const following = transports[(transports.indexOf(transport) + 1) % transports.length] ?? first
  // A stream that has worked is not blocked: its server is away, and would be found by whoever asks first.
  const hasStreamed = proven.some((one) => one !== following)
  return following === 'long-poll' && hasStreamed && failures + 1 < TRIES_OF_PROVEN ? first : following
}

/** Return the streams that are preferred to the long-poll that is used; none while a stream is used. */
function betterThan({ transport, transports }: Link): readonly Transport[] {
  return transport === 'long-poll' ? transports.slice(0, transports.indexOf(transport)) : []
}

function isRefused({ trouble }: Link): boolean {
  return trouble?.status === UNAUTHORIZED
}

function resync(link: Link): Action {
  return { kind: 'resync', generation: link.generation, delta: wantsDelta(link) }
}

function disconnect(link: Link): readonly Action[] {
  const isConnected = link.phase === 'connecting' || link.phase === 'open'
  const own: readonly Action[] = isConnected ? [{ kind: 'disconnect', generation: link.generation }] : []
  return [...own, ...disconnectRising(link)]
}

function disconnectRising({ rising }: Link): readonly Action[] {
  return rising === null ? [] : [{ kind: 'disconnect', generation: rising.generation }]
}

function isCurrent(link: Link, generation: number): boolean {
  return generation === link.generation && (link.phase === 'connecting' || link.phase === 'open')
}

/** F10: after a wrong digest only whole documents. */
function wantsDelta(link: Link): boolean {
  return link.delta && link.replica.faults === 0
}

function patience(link: Link): number {
  return PATIENCE * link.heartbeatMs
}

/** F12, the gravest first. */
function stateOf(link: Link, nowMs: number): LinkState {
  if (link.confirmedAt === null) return link.phase === 'stopped' ? 'stale' : 'connecting'
  if (link.phase === 'stopped' || nowMs >= link.confirmedAt + patience(link)) return 'stale'
  if (isDoubtful(link.replica)) return 'integrity'
  if (link.phase !== 'open' || !link.replica.following || link.replica.expecting) return 'resyncing'
  if (link.sourceAgeMs !== null && link.sourceAgeMs > patience(link)) return 'source-stale'
  return link.isQuiet ? 'quiet' : 'live'
}
