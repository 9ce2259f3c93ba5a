/**
 * The border where a server's text becomes frames (PROTOCOL §4): parsed once, here, into values.
 *
 * Law: nothing that arrives throws. A frame of a type that this version does not know is `unknown` and passes over; one
 * that breaks the protocol is `unreadable`, and the connection is left. Unknown members are ignored.
 */
import { canonical, InvalidValue, isArray, isObject } from './canonical.ts'
import type { Json, JsonObject } from './documents.ts'
import { epochNumber, type Position, parsePosition } from './position.ts'

export type DocumentKind = 'run' | 'pipeline'

interface Step {
  readonly type: DocumentKind
  readonly id: string
  readonly version: number
  readonly position: Position
  /** Of the document at `version`, says the server. */
  readonly digest: string
  readonly oldState: string | null
  /** What the document's `state` must be; null for a pipeline. */
  readonly newState: string | null
}

/** A change that carries the whole document, with its canonical text. */
export interface Full extends Step {
  readonly kind: 'full'
  readonly document: JsonObject
  readonly canonical: string
}

/** A change that carries a patch; valid from the named base alone (F9). */
export interface Delta extends Step {
  readonly kind: 'delta'
  readonly base: { readonly version: number; readonly digest: string }
  readonly patch: Json
}

/** A document that is deleted or hidden. */
export interface Gone {
  readonly kind: 'gone'
  readonly type: DocumentKind
  readonly id: string
}

export type Change = Full | Delta | Gone

/** What a `problem` frame says, and an RFC 9457 answer. */
export interface Trouble {
  readonly code: string
  readonly status: number
  readonly detail: string
}

export type Frame =
  | { readonly kind: 'hello'; readonly protocol: number; readonly epoch: string; readonly heartbeatMs: number }
  | {
      readonly kind: 'snapshot'
      readonly position: Position
      readonly more: boolean
      readonly changes: readonly Change[]
    }
  | {
      readonly kind: 'transition'
      readonly from: Position
      readonly to: Position
      /** Since the server last knew that its journal works; null: it does not say. */
      readonly sourceAgeMs: number | null
      readonly changes: readonly Change[]
    }
  | { readonly kind: 'bye'; readonly code: string; readonly retryMs: number }
  | { readonly kind: 'problem'; readonly trouble: Trouble }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'unreadable' }

class Breach extends Error {}

/** Return the frame that a message holds. */
export function parseFrame(message: string): Frame {
  try {
    return parse(object(JSON.parse(message)))
  } catch (error) {
    if (error instanceof Breach || error instanceof SyntaxError || error instanceof InvalidValue) {
      return { kind: 'unreadable' }
    }
    throw error
  }
}

/** Return what an RFC 9457 body says, null if it is not one of ours. */
export function parseTrouble(body: Json, status: number): Trouble | null {
  if (!isObject(body) || typeof body.code !== 'string') return null
  return { code: body.code, status, detail: told(body.detail) ?? told(body.title) ?? body.code }
}

function parse(frame: JsonObject): Frame {
  switch (text(frame.type)) {
    case 'hello': {
      const [epoch, heartbeatMs] = [text(frame.epoch), integer(frame.heartbeat_ms)]
      if (epochNumber(epoch) === null || heartbeatMs <= 0) throw new Breach()
      return { kind: 'hello', protocol: integer(frame.protocol), epoch, heartbeatMs }
    }
    case 'snapshot': {
      if (typeof frame.more !== 'boolean') throw new Breach()
      const changes = parseChanges(frame.changes)
      return { kind: 'snapshot', position: position(frame.position), more: frame.more, changes }
    }
    case 'transition':
      return {
        kind: 'transition',
        from: position(frame.from),
        to: position(frame.to),
        sourceAgeMs: integer(frame.source_age_ms),
        changes: parseChanges(frame.changes),
      }
    case 'bye': {
      const retryMs = frame.retry_ms === undefined ? 0 : integer(frame.retry_ms)
      return { kind: 'bye', code: text(frame.code), retryMs: Math.max(0, retryMs) }
    }
    case 'problem': {
      const status = typeof frame.status === 'number' ? frame.status : 0
      const trouble = parseTrouble(frame, status) ?? { code: 'unknown', status, detail: 'unknown' }
      return { kind: 'problem', trouble }
    }
    default:
      return { kind: 'unknown' }
  }
}

function parseChanges(changes: Json | undefined): readonly Change[] {
  if (changes === undefined || !isArray(changes)) throw new Breach()
  return changes.map((change) => parseChange(object(change))).filter((change) => change !== null)
}

function parseChange(change: JsonObject): Change | null {
  switch (text(change.event)) {
    case 'state_change':
      return step(change, 'run', text(change.run_id))
    case 'pipeline_change':
      return step(change, 'pipeline', text(change.pipeline))
    case 'gone':
      if (change.kind === 'run') return { kind: 'gone', type: 'run', id: text(change.run_id) }
      if (change.kind === 'pipeline') return { kind: 'gone', type: 'pipeline', id: text(change.pipeline) }
      return null
    default:
      return null // an event of a later protocol
  }
}

function step(change: JsonObject, type: DocumentKind, id: string): Change {
  const data = object(change.data)
  const common: Step = {
    type,
    id,
    version: integer(change.version),
    position: position(change.position),
    digest: text(change.digest),
    oldState: told(data.old_state),
    newState: told(data.new_state),
  }
  const document = type === 'run' ? data.canonical_state : data.document
  if (document !== undefined) {
    return { ...common, kind: 'full', document: object(document), canonical: canonical(document) }
  }
  const base = object(data.base)
  return {
    ...common,
    kind: 'delta',
    base: { version: integer(base.version), digest: text(base.digest) },
    patch: data.patch ?? null,
  }
}

function object(value: Json | undefined): JsonObject {
  if (!isObject(value)) throw new Breach()
  return value
}

function text(value: Json | undefined): string {
  if (typeof value !== 'string') throw new Breach()
  return value
}

function integer(value: Json | undefined): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw new Breach()
  return value
}

function position(value: Json | undefined): Position {
  const parsed = parsePosition(text(value))
  if (parsed === null) throw new Breach()
  return parsed
}

function told(value: Json | undefined): string | null {
  return typeof value === 'string' ? value : null
}
