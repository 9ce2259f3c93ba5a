/**
 * What a person is shown: the documents, how far they go, and what to think of the link.
 *
 * Law: a view never changes. Every part of it that did not change since the last one keeps its identity.
 */
import type { JsonObject, PipelineDocument, RunDocument } from './documents.ts'
import type { DocumentKind, Trouble } from './frames.ts'
import type { Link, LinkState, Transport } from './link.ts'
import { epochNumber, formatPosition, parsePosition } from './position.ts'
import type { Entry, Shown } from './replica.ts'

export interface ViewLink {
  readonly state: LinkState
  /** When `state` began; all times are milliseconds of the client's clock. */
  readonly since: number
  /** The last frame that confirmed what is shown; the view's age counts from here. */
  readonly lastFrameAt: number | null
  /** How long ago the server last knew that its journal works, as of the last transition. */
  readonly sourceAgeMs: number | null
  /** null while there is no connection. */
  readonly transport: Transport | null
  /** Why the server refused the last connection, where it said so. */
  readonly problem?: Trouble
}

export interface View {
  readonly link: ViewLink
  readonly position: string | null
  readonly pipelines: Readonly<Record<string, Entry<PipelineDocument>>>
  /** Each pipeline's current run, and the runs that were subscribed by name. */
  readonly runs: Readonly<Record<string, Entry<RunDocument>>>
}

/** Return whether the view shows everything up to `position`. */
export function reached(view: View, position: string): boolean {
  const shown = view.position === null ? null : parsePosition(view.position)
  const wanted = parsePosition(position)
  if (shown === null || wanted === null) return false
  if (shown.epoch === wanted.epoch) return shown.revision >= wanted.revision
  return (epochNumber(shown.epoch) ?? 0) > (epochNumber(wanted.epoch) ?? 0)
}

/** Return the view of `link`; `before` is the one shown until now, and itself if nothing changed. */
export function viewOf(link: Link, before: View | null): View {
  const { replica } = link
  const view: View = {
    link: reuse(before?.link, linkOf(link)),
    position: replica.position === null ? null : formatPosition(replica.position),
    pipelines: reuse(before?.pipelines, recordOf<PipelineDocument>(replica.entries, 'pipeline')),
    runs: reuse(before?.runs, recordOf<RunDocument>(replica.entries, 'run')),
  }
  return reuse(before ?? undefined, view)
}

function linkOf({ state, since, confirmedAt, sourceAgeMs, phase, transport, trouble }: Link): ViewLink {
  const connected = phase === 'open' ? transport : null
  const link = { state, since, lastFrameAt: confirmedAt, sourceAgeMs, transport: connected }
  return trouble === null ? link : { ...link, problem: trouble }
}

function recordOf<Document>(
  entries: ReadonlyMap<string, Shown>,
  type: DocumentKind,
): Readonly<Record<string, Entry<Document>>> {
  const ofType = [...entries.values()].filter((shown) => shown.type === type)
  // A document has the members of its kind: the server that committed it checked them, its digest says it is that one.
  const typed = (entry: Entry<JsonObject>) => entry as unknown as Entry<Document>
  return Object.fromEntries(ofType.map(({ id, entry }) => [id, typed(entry)]))
}

/** Return `before` if it has the very same members as `after`. */
function reuse<Value extends object>(before: Value | undefined, after: Value): Value {
  if (before === undefined) return after
  const [was, is] = [Object.entries(before), Object.entries(after)]
  const isSame = was.length === is.length && is.every(([key, value]) => own(before, key) === value)
  return isSame ? before : after
}

function own(value: object, key: string): unknown {
  return Object.getOwnPropertyDescriptor(value, key)?.value
}
