/**
 * A reader's copy of the documents: never wrong, only behind, and it says so (PROTOCOL F1–F6, F9–F11).
 *
 *     frame        what the replica does
 *     ───────────  ─────────────────────────────────────────────────────────────────────────────────
 *     hello        of a smaller epoch: leave (F6); of another one: a snapshot is due
 *     snapshot     gathers the parts, then swaps the whole store; older than what it shows: leave
 *     transition   begins at our position: swaps the store; ended at or before it: ignored; else resync (F2)
 *     unreadable   leave: it may have been part of a snapshot, whose other parts must not pass as the whole
 *
 * Law: `receive` is the only way in (F11). Nothing that a peer sends throws. A document whose digest is not that of its
 * bytes is refused once; from the second time on it is taken, marked as not verified, until a version verifies (F10).
 * What did not change keeps its identity.
 */
import { canonical, digest, InvalidValue, isObject } from './canonical.ts'
import type { JsonObject } from './documents.ts'
import type { Change, Delta, DocumentKind, Frame, Full } from './frames.ts'
import { apply, Misfit, share } from './patch.ts'
import { epochNumber, formatPosition, isBefore, isEqual, type Position } from './position.ts'

/** What a frame came to, and so what is to be done. */
export type Outcome =
  /** The store is what the server says it is, up to the frame's position. */
  | 'applied'
  /** A snapshot is arriving. */
  | 'part'
  /** It said nothing new. */
  | 'ignored'
  /** Ask for a snapshot; until it comes, transitions are ignored. */
  | 'resync'
  /** The server is older than what is shown, or not understood: leave it and try again later. */
  | 'leave'

/** One document as it is shown. */
export interface Entry<Document> {
  readonly document: Document
  readonly version: number
  /** Of the commit that made this version. */
  readonly position: string
  readonly digest: string
  /** `digest` is that of the document, and both fit what the change said of them. */
  readonly verified: boolean
  /** State at version − 1, whatever this reader saw last; a run's only. */
  readonly old_state?: string
}

export interface Shown {
  readonly type: DocumentKind
  readonly id: string
  readonly entry: Entry<JsonObject>
}

export interface Replica {
  readonly topics: readonly string[]
  /** The store is complete up to here; null before the first snapshot. */
  readonly position: Position | null
  /** By `keyOf`. */
  readonly entries: ReadonlyMap<string, Shown>
  /** Transitions from `position` on may be applied. */
  readonly following: boolean
  /** The server has not yet answered the (re)subscription. */
  readonly expecting: boolean
  /** Of the snapshot that is arriving. */
  readonly parts: readonly Change[]
  readonly partsPosition: Position | null
  /** Frames with a wrong digest so far; never reset. */
  readonly faults: number
}

type Step = readonly [Replica, Outcome]

/** Return the replica of a client that has heard nothing yet. */
export function newReplica(topics: readonly string[] = ['*']): Replica {
  const nothing = { position: null, entries: new Map(), parts: [], partsPosition: null }
  return { topics, ...nothing, following: false, expecting: true, faults: 0 }
}

/** Return what an entry is known by. */
export function keyOf(type: DocumentKind, id: string): string {
  return `${type}:${id}`
}

/** Return where a new connection may go on; null if it must begin with a snapshot. */
export function resumeOf(replica: Replica): Position | null {
  return replica.following && !isDoubtful(replica) ? replica.position : null
}

/** Return whether something shown is not verified (F12 `integrity`). */
export function isDoubtful(replica: Replica): boolean {
  return [...replica.entries.values()].some(({ entry }) => !entry.verified)
}

/** Return the replica at the start of a connection, whose request named `resumeOf(replica)` or did not. */
export function begin(replica: Replica, resume: boolean): Replica {
  return { ...replica, following: resume, expecting: true, parts: [], partsPosition: null }
}

/** Return the replica after `frame`, and what the frame came to. */
export function receive(replica: Replica, frame: Frame): Step {
  switch (frame.kind) {
    case 'hello':
      return greet(replica, frame.epoch)
    case 'snapshot':
      return gather(replica, frame)
    case 'transition':
      return follow(replica, frame)
    case 'unreadable':
      return [begin(replica, false), 'leave']
    case 'bye':
    case 'problem':
    case 'unknown':
      return [replica, 'ignored'] // the link's business
  }
}

function greet(replica: Replica, epoch: string): Step {
  if (replica.position === null || epoch === replica.position.epoch) return [replica, 'ignored']
  // F6: a larger epoch is never replaced by a smaller.
  if ((epochNumber(epoch) ?? 0) < (epochNumber(replica.position.epoch) ?? 0)) return [replica, 'leave']
  return [begin(replica, false), 'ignored']
}

function gather(replica: Replica, frame: Frame & { kind: 'snapshot' }): Step {
  if (replica.position !== null) {
    if (isBefore(frame.position, replica.position)) return [begin(replica, false), 'leave']
    if (isEqual(frame.position, replica.position) && !replica.expecting) return [replica, 'ignored']
  }
  const earlier = isEqual(frame.position, replica.partsPosition) ? replica.parts : []
  const parts = [...earlier, ...frame.changes]
  if (frame.more) return [{ ...begin(replica, false), parts, partsPosition: frame.position }, 'part']
  return take(replica, parts, new Map(), frame.position)
}

function follow(replica: Replica, frame: Frame & { kind: 'transition' }): Step {
  // A snapshot is due; this was sent before the server heard us.
  if (!replica.following || replica.position === null) return [replica, 'ignored']
  if (isEqual(frame.from, replica.position) && !isBefore(frame.to, frame.from)) {
    return take(replica, frame.changes, replica.entries, frame.to)
  }
  // Delivered twice or late: it tells what we know.
  if (isEqual(frame.to, replica.position) || isBefore(frame.to, replica.position)) return [replica, 'ignored']
  return lost(replica)
}

function take(
  replica: Replica,
  changes: readonly Change[],
  kept: ReadonlyMap<string, Shown>,
  position: Position,
): Step {
  const entries = new Map(kept)
  const sameEpoch = replica.position?.epoch === position.epoch
  let faults = replica.faults
  for (const change of changes) {
    const key = keyOf(change.type, change.id)
    if (change.kind === 'gone') {
      entries.delete(key)
      continue
    }
    const shown = replica.entries.get(key)
    // V3: within one incarnation of the store no document goes back.
    if (shown?.entry.verified && change.version < shown.entry.version && sameEpoch) return lost(replica)
    const entry = change.kind === 'full' ? whole(change, shown?.entry) : patched(change, entries.get(key)?.entry)
    if (entry === null) return lost(replica) // F9: there is no base for it
    if (!entry.verified) {
      // What a patch made wrongly is never shown.
      if (replica.faults === 0 || change.kind === 'delta') {
        return lost({ ...replica, faults: replica.faults + 1 })
      }
      faults = replica.faults + 1
    }
    const isSameAsShown = shown !== undefined && isSame(shown.entry, entry)
    entries.set(key, isSameAsShown ? shown : { type: change.type, id: change.id, entry })
  }
  const isUnchanged = changes.length === 0 && kept === replica.entries
  const shownNow = isUnchanged ? replica.entries : withoutLeft(entries, replica.topics)
  return [{ ...begin(replica, true), expecting: false, position, entries: shownNow, faults }, 'applied']
}

function whole(change: Full, shown: Entry<JsonObject> | undefined): Entry<JsonObject> {
  const verified = digest(change.canonical) === change.digest && fits(change, change.document)
  // `share` gives an object for an object.
  return { ...named(change), verified, document: share(shown?.document, change.document) as JsonObject }
}

function patched(change: Delta, base: Entry<JsonObject> | undefined): Entry<JsonObject> | null {
  if (base === undefined || !base.verified) return null
  if (base.version !== change.base.version || base.digest !== change.base.digest) return null
  try {
    const document = apply(base.document, change.patch)
    if (isObject(document)) {
      const verified = digest(canonical(document)) === change.digest && fits(change, document)
      return { ...named(change), verified, document: share(base.document, document) as JsonObject }
    }
  } catch (error) {
    if (!(error instanceof Misfit) && !(error instanceof InvalidValue)) throw error
  }
  return { ...base, verified: false } // the right base and a patch that misfits it: as wrong as a wrong digest
}

function named(change: Full | Delta): Omit<Entry<JsonObject>, 'document' | 'verified'> {
  const common = { version: change.version, position: formatPosition(change.position), digest: change.digest }
  return change.oldState === null ? common : { ...common, old_state: change.oldState }
}

/** The digest binds id, version and state to the document, so an envelope that says otherwise is as wrong. */
function fits(change: Full | Delta, document: JsonObject): boolean {
  return (
    document[change.type === 'run' ? 'run_id' : 'pipeline'] === change.id &&
    document.version === change.version &&
    (change.newState === null || document.state === change.newState)
  )
}

/** Return `entries` without runs that their pipeline has left and nobody asked for: they would only age. */
function withoutLeft(entries: ReadonlyMap<string, Shown>, topics: readonly string[]): ReadonlyMap<string, Shown> {
  const isLeft = (run: Shown): boolean => {
    const pipeline = entries.get(keyOf('pipeline', String(run.entry.document.pipeline)))
    return pipeline !== undefined && pipeline.entry.document.current_run_id !== run.id
  }
  return new Map([...entries].filter(([key, one]) => one.type === 'pipeline' || topics.includes(key) || !isLeft(one)))
}

function lost(replica: Replica): Step {
  return [begin(replica, false), 'resync']
}

function isSame(one: Entry<JsonObject>, other: Entry<JsonObject>): boolean {
  return (
    one.document === other.document &&
    one.version === other.version &&
    one.position === other.position &&
    one.digest === other.digest &&
    one.verified === other.verified &&
    one.old_state === other.old_state
  )
}
