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
import type { Change, Frame, Full } from './frames.ts'
import { type Answer, CATALOGUE, type Path, parseAnswer, pathKey, type Reading } from './poll-answer.ts'
import { isBefore, type Position } from './position.ts'
import { keyOf } from './replica.ts'

const PROTOCOL = 1
const HEARTBEAT_MS = 5000
const WAIT_ALONE_S = 5 // a heartbeat: the answer is the watermark
const WAIT_S = 1 // where other documents may change meanwhile
const ABREAST = 4 // requests at once: a browser has six connections to a server, for everything
const MOST_ROUNDS = 8 // without a moment at which all stand together, until the link is told

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
  return { asks: [{ path: lead, after: reading(poll, lead)?.since ?? null, least: null, waitS }], pauseMs: poll.pauseMs }
}

/** Return the poll after a round, and the frames that it came to; `elapsedMs` is from the asking to the last answer. */
export function take(before: Poll, answers: readonly Answer[], elapsedMs: number): Step {
  const waitS = Math.max(...roundOf(before).asks.map((ask) => ask.waitS))
  const read = answers.map((answer) => parseAnswer(answer, reading(before, answer.path)))
  const [first] = read
  if (first === undefined || read.some((one) => one === null)) return [{ ...before, hasEnded: true }, [{ kind: 'unreadable' }]]
  const found = read.filter((one) => one !== null)
  const epoch = before.epoch ?? found[0]?.head.epoch ?? ''
  if (found.some(({ head }) => head.epoch !== epoch)) {
    // Another store: what was read of the old one is worth nothing.
    return [counted({ ...newPoll(before.topics), rounds: before.rounds }), []]
  }
  const readings = new Map(before.readings)
  for (const { path, now } of found) if (now !== null) readings.set(pathKey(path), now)
  const frames: readonly Frame[] =
    before.epoch === null ? [{ kind: 'hello', protocol: PROTOCOL, epoch, heartbeatMs: HEARTBEAT_MS }] : []
  let poll: Poll = { ...before, epoch, readings }
  const [lead] = found
  if (waitS > 0 && lead !== undefined) {
    const isNews = lead.now !== null && lead.now.since !== reading(before, lead.path)?.since
    poll = { ...poll, pauseMs: isNews ? 0 : Math.max(0, waitS * 1000 - elapsedMs) }
    if (lead.now === null) return [counted(poll), []]
    poll = { ...poll, goal: lead.head }
  }
  poll = { ...poll, goal: [...readings.values()].map(({ since }) => since).reduce(later, poll.goal ?? first_since(readings)) }
  if (duePaths(poll).length > 0) return [counted(poll), frames]
  return together(poll, frames)
}
