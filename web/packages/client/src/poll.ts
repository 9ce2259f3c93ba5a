/**
 * Frames made of plain answers: the last way to follow a server (PROTOCOL F13, over H1 to H4).
 *
 * An answer proves an interval: its document has been so from its commit (`ETag`) to the server's head at that moment
 * (`Runstate-Position`). Documents stand together at a position that lies in all their intervals, and nowhere else.
 *
 *     ask the lead, and wait ──── the head has not moved ────▶ heartbeat
 *           │ it has                                              ▲
 *           ▼                                                     │ nothing of ours changed
 *     ask whoever was last seen before the goal ── all reach it ──┴▶ snapshot, or transition to the least head
 *           ▲ one changed: the goal is its commit │
 *           └─────────────────────────────────────┘
 *
 * Law: `roundOf` says what to ask, `take` what came of it; time comes in. A frame never mixes two moments. Digests are
 * judged by the replica, like those of a stream. What the server thinks of its journal is not in its answers, so
 * `sourceAgeMs` is not known here. The lead is the run that changed last: a change of a pipeline's current run touches a
 * run too (D8), and whatever else moves is seen by the head when the wait ends.
 */
import { canonical, InvalidValue, isArray, isObject } from './canonical.ts'
import type { Json, JsonObject } from './documents.ts'
import type { Change, Frame, Full } from './frames.ts'
import { isBefore, isEqual, type Position, parsePosition } from './position.ts'
import { keyOf } from './replica.ts'

const PROTOCOL = 1
const HEARTBEAT_MS = 5000
const WAIT_ALONE_S = 5 // a heartbeat: the answer is the watermark
const WAIT_S = 1 // where other documents may change meanwhile
const ABREAST = 4 // requests at once: a browser has six connections to a server, for everything
const MOST_ROUNDS = 8 // without a moment at which all stand together, until the link is told

const SHA_256 = /(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):/
const CATALOGUE: Path = ['api', 'pipelines']

export type Path = readonly string[]

/** 200 or 304; anything else is the end of the connection. */
export interface Answer {
  readonly path: Path
  /** null: 304. */
  readonly body: string | null
  /** `ETag`, as it came. */
  readonly tag: string | null
  /** `Repr-Digest`. */
  readonly proof: string | null
  /** `Runstate-Position`. */
  readonly head: string | null
}

/** What is known of one path: it has been so from `since` until `until`, at least. */
interface Reading {
  readonly since: Position
  readonly until: Position
  /** The document; null: there is none yet (D5), or it is the catalogue. */
  readonly change: Full | null
  /** Of the pipelines, in the catalogue. */
  readonly names: readonly string[]
}

class Breach extends Error {}

/** One GET. */
export interface Ask {
  /** Below the server's base; its parts are not yet quoted. */
  readonly path: Path
  /** Only a newer document; else the answer is 304. */
  readonly after: Position | null
  /** `min` on the wire. */
  readonly least: Position | null
  /** How long the server may hold it for that; 0: not at all. */
  readonly waitS: number
}

/** What to ask now, all at once, after a pause. */
export interface Round {
  readonly asks: readonly Ask[]
  readonly pauseMs: number
}

/** One connection. */
export interface Poll {
  readonly topics: readonly string[]
  /** Of the server's answers; null before the first. */
  readonly epoch: string | null
  readonly readings: ReadonlyMap<string, Reading>
  /** Every path must have been seen at this, or later. */
  readonly goal: Position | null
  /** Of the last frame; null before the snapshot. */
  readonly position: Position | null
  readonly shown: ReadonlyMap<string, Full>
  /** Since the last frame. */
  readonly rounds: number
  /** What the server did not wait, we do. */
  readonly pauseMs: number
  /** The link must begin anew. */
  readonly hasEnded: boolean
}

type Step = readonly [Poll, readonly Frame[]]

/** Return a poll that has asked nothing yet. */
export function newPoll(topics: readonly string[]): Poll {
  const nothing = { epoch: null, goal: null, position: null, rounds: 0, pauseMs: 0, hasEnded: false }
  return { topics, ...nothing, readings: new Map(), shown: new Map() }
}

/** Return what to ask next, of a poll that has not ended. */
export function roundOf(poll: Poll): Round {
  const lead = leadOf(poll)
  const due = duePaths(poll).slice(0, ABREAST)
  if (due.length > 0 || lead === null) return { asks: due.map((path) => askFor(poll, path)), pauseMs: 0 }
  const waitS = pathsOf(poll).length === 1 ? WAIT_ALONE_S : WAIT_S
  const after = poll.readings.get(keyOfPath(lead))?.since ?? null
  return { asks: [{ path: lead, after, least: null, waitS }], pauseMs: poll.pauseMs }
}

/** Return the poll after a round, and the frames that it came to; `elapsedMs` is from the asking to the last answer. */
export function take(poll: Poll, answers: readonly Answer[], elapsedMs: number): Step {
  try {
    return taken(poll, answers, elapsedMs)
  } catch (error) {
    if (error instanceof Breach || error instanceof SyntaxError || error instanceof InvalidValue) {
      return [{ ...poll, hasEnded: true }, [{ kind: 'unreadable' }]]
    }
    throw error
  }
}

function taken(before: Poll, answers: readonly Answer[], elapsedMs: number): Step {
  const waitS = Math.max(...roundOf(before).asks.map((ask) => ask.waitS))
  const heads = answers.map((answer) => position(answer.head))
  const epoch = before.epoch ?? [...heads.map((head) => head.epoch)].sort()[0] ?? ''
  if (heads.some((head) => head.epoch !== epoch)) {
    // Another store: what was read of the old one is worth nothing.
    return [counted({ ...newPoll(before.topics), rounds: before.rounds }), []]
  }
  const read = answers.map((answer) => ({ key: keyOfPath(answer.path), now: readAnswer(before, answer) }))
  const readings = new Map(before.readings)
  for (const { key, now } of read) if (now !== null) readings.set(key, now)
  const greeting: Frame = { kind: 'hello', protocol: PROTOCOL, epoch, heartbeatMs: HEARTBEAT_MS }
  let poll: Poll = { ...before, epoch, readings }
  const [lead] = read
  if (waitS > 0 && lead !== undefined) {
    const isNews = lead.now !== null && !isEqual(lead.now.since, before.readings.get(lead.key)?.since ?? null)
    poll = { ...poll, pauseMs: isNews ? 0 : Math.max(0, waitS * 1000 - elapsedMs), goal: heads[0] ?? null }
    if (lead.now === null) return [counted({ ...poll, goal: before.goal }), []]
  }
  const known = [...readings.values()].map(({ since }) => since)
  poll = { ...poll, goal: (poll.goal === null ? known : [poll.goal, ...known]).reduce(later) }
  const frames = before.epoch === null ? [greeting] : []
  return duePaths(poll).length > 0 ? [counted(poll), frames] : together(poll, frames)
}

/** Return the frame of the moment at which everything has been seen. */
function together(before: Poll, frames: readonly Frame[]): Step {
  const readings = pathsOf(before).map((path) => before.readings.get(keyOfPath(path)))
  const all = readings.filter((reading) => reading !== undefined)
  const to = all.map(({ until }) => until).reduce((one, other) => (isBefore(other, one) ? other : one))
  const documents = all.map(({ change }) => change).filter((change) => change !== null)
  const shown = new Map(documents.map((full) => [keyOf(full.type, full.id), full]))
  const poll: Poll = { ...before, position: to, shown, rounds: 0 }
  const ended: Poll = { ...poll, hasEnded: leadOf(poll) === null }
  const from = before.position
  if (from === null) {
    return [ended, [...frames, { kind: 'snapshot', position: to, more: false, changes: [...shown.values()] }]]
  }
  const changed: Change[] = [...shown]
    .filter(([key, full]) => before.shown.get(key) !== full)
    .map(([key, full]) => ({ ...full, oldState: oldState(before.shown.get(key), full) }))
  const left: Change[] = [...before.shown]
    .filter(([key]) => !shown.has(key))
    .map(([, { type, id }]) => ({ kind: 'gone', type, id }))
  return [ended, [...frames, { kind: 'transition', from, to, sourceAgeMs: null, changes: [...changed, ...left] }]]
}

/** F9: the state at version − 1, which is known where that is what was shown. */
function oldState(shown: Full | undefined, full: Full): string | null {
  return shown?.version === full.version - 1 ? shown.newState : null
}

/** Return what must be read, in the order in which it is shown. */
function pathsOf({ topics, readings }: Poll): readonly Path[] {
  const names = readings.get(keyOfPath(CATALOGUE))?.names ?? []
  const paths = topics.flatMap((topic): readonly Path[] => {
    const [kind, name] = [topic.split(':', 1)[0], topic.slice(topic.indexOf(':') + 1)]
    if (kind === 'run') return [['api', 'runs', name]]
    return kind === 'pipeline' ? ofPipeline(name) : [CATALOGUE, ...names.flatMap(ofPipeline)]
  })
  return [...new Map(paths.map((path) => [keyOfPath(path), path])).values()]
}

function ofPipeline(name: string): readonly Path[] {
  return [
    ['api', 'pipelines', name],
    ['api', 'pipelines', name, 'status'],
  ]
}

function keyOfPath(path: Path): string {
  return JSON.stringify(path)
}

function duePaths(poll: Poll): readonly Path[] {
  return pathsOf(poll).filter((path) => {
    const reading = poll.readings.get(keyOfPath(path))
    return reading === undefined || (poll.goal !== null && isBefore(reading.until, poll.goal))
  })
}

function askFor({ readings, goal }: Poll, path: Path): Ask {
  const since = path.length === CATALOGUE.length ? undefined : readings.get(keyOfPath(path))?.since
  return { path, after: since ?? null, least: goal, waitS: 0 }
}

function leadOf(poll: Poll): Path | null {
  const read = pathsOf(poll).flatMap((path) => {
    const since = poll.readings.get(keyOfPath(path))?.since
    return since !== undefined && (path.length === 4 || path[1] === 'runs') ? [{ path, since }] : []
  })
  return (
    read.reduce<(typeof read)[0] | null>((one, two) => (one && !isBefore(one.since, two.since) ? one : two), null)
      ?.path ?? null
  )
}

function counted(poll: Poll): Poll {
  const rounds = poll.rounds + 1
  return { ...poll, rounds, hasEnded: rounds > MOST_ROUNDS * (1 + Math.floor(pathsOf(poll).length / ABREAST)) }
}

/** Return what is known of a path now; null: the answer is older than that, or not to what was asked. */
function readAnswer(poll: Poll, { path, body, tag, proof, head }: Answer): Reading | null {
  const [known, until] = [poll.readings.get(keyOfPath(path)), position(head)]
  if (known !== undefined && isBefore(until, known.until)) return null
  if (path.length === CATALOGUE.length) return readCatalogue(known, object(body))
  const named = tag === null ? null : position(tag.replace(/^W\//, '').replaceAll('"', ''))
  if (body === null) {
    const isSame = known !== undefined && (named === null || isEqual(known.since, named))
    return isSame ? { ...known, until } : null
  }
  const since = named ?? until // what something on the way took the tag from is so at the head, and before that perhaps
  if (isBefore(until, since)) throw new Breach()
  // We asked for what is newer, and that would have been 304: something on the way kept an old answer.
  if (known !== undefined && isEqual(since, known.since)) return null
  return { since, until, change: fullOf(path, object(body), since, digestOf(proof)), names: [] }
}

function readCatalogue(known: Reading | undefined, page: JsonObject): Reading {
  const until = position(page.position)
  if (page.pipelines === undefined || !isArray(page.pipelines)) throw new Breach()
  const names = page.pipelines.map((pipeline) => text(isObject(pipeline) ? pipeline.pipeline : null))
  if (known !== undefined && keyOfPath(known.names) === keyOfPath(names)) return { ...known, until }
  return { since: until, until, change: null, names }
}

function fullOf(path: Path, document: JsonObject, position: Position, digest: string): Full | null {
  const { version, state } = document
  if (!Number.isSafeInteger(version)) throw new Breach()
  const common = { kind: 'full', version: Number(version), position, digest, document } as const
  const [, kind, name = ''] = path
  if (kind === 'pipelines' && path.length === 3) {
    return { ...common, type: 'pipeline', id: name, oldState: null, newState: null, canonical: canonical(document) }
  }
  const runId = kind === 'runs' ? name : document.run_id
  if (runId === null || runId === undefined) return null // D5: never sent on streams, so never shown as a run
  const [oldState, newState] = [text(state), text(state)]
  return { ...common, type: 'run', id: text(runId), oldState, newState, canonical: canonical(document) }
}

/** A document without the digest that proves it is not one. */
function digestOf(proof: string | null): string {
  const [, base64] = SHA_256.exec(proof ?? '') ?? []
  if (base64 === undefined) throw new Breach()
  const hex = [...atob(base64)].map((byte) => byte.charCodeAt(0).toString(16).padStart(2, '0'))
  return `sha-256:${hex.join('')}`
}

function later(one: Position, other: Position): Position {
  return isBefore(one, other) ? other : one
}

function object(body: string | null): JsonObject {
  const value: Json = JSON.parse(body ?? '')
  if (!isObject(value)) throw new Breach()
  return value
}

function position(value: Json | undefined): Position {
  const parsed = parsePosition(text(value))
  if (parsed === null) throw new Breach()
  return parsed
}

function text(value: Json | undefined): string {
  if (typeof value !== 'string') throw new Breach()
  return value
}
