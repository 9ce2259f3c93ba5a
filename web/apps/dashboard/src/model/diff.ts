/** What differs between two documents, and what a patch says, as rows that a person can read. Pure. */

import type { Json, PatchOperation } from '@runstate/client'

export interface Difference {
  /** `/stages/analyzer/progress/done`. */
  readonly path: string
  /** undefined: it was not there. */
  readonly before: Json | undefined
  /** undefined: it is not there any more. */
  readonly after: Json | undefined
}

/** Return where `after` differs from `before`, member by member; arrays count as one value. */
export function differences(before: unknown, after: unknown, path = ''): readonly Difference[] {
  if (isMembers(before) && isMembers(after)) {
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])]
    return names.flatMap((name) => differences(before[name], after[name], `${path}/${name}`))
  }
  if (JSON.stringify(before) === JSON.stringify(after)) return []
  return [{ path, before: before as Json | undefined, after: after as Json | undefined }]
}

/** What changes in each commit, or nearly, and so tells nothing. */
const DULL = /^\/(updated_at|version|epoch|schema)$|\/heartbeat_at$/

/** Return `rows` with those first that tell what happened. */
export function tellingFirst(rows: readonly Difference[]): readonly Difference[] {
  return rows.toSorted((a, b) => Number(isDull(a)) - Number(isDull(b)))
}

export function isDull({ path }: Difference): boolean {
  return DULL.test(path)
}

/** Return what `patch` does to `before`, leaf by leaf. */
export function patchRows(before: unknown, patch: readonly PatchOperation[]): readonly Difference[] {
  return patch.flatMap(({ op, path, value }) => {
    const was = valueAt(before, path)
    return op === 'remove' ? [{ path, before: was as Json, after: undefined }] : differences(was, value, path)
  })
}

/** `state running_analyzer → stopped; version 4 → 6`, for who wants to know what happened meanwhile. */
export function meanwhile(before: object, after: object, most = 3): string {
  const all = differences(before, after).filter((one) => !isDull(one))
  const told = all.slice(0, most).map(({ path, before: was, after: is }) => {
    return `${path.slice(1).replaceAll('/', ' ')} ${brief(was)} → ${brief(is)}`
  })
  if (all.length > most) told.push(`and ${all.length - most} more`)
  return told.length === 0 ? 'it was committed again without another difference' : told.join('; ')
}

/** A value in a few characters. */
export function brief(value: Json | undefined, most = 60): string {
  const text = value === undefined ? 'nothing' : typeof value === 'string' ? value : JSON.stringify(value)
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`
}

function valueAt(value: unknown, path: string): unknown {
  const names = path.split('/').slice(1)
  return names.reduce<unknown>(
    (at, name) => (isMembers(at) ? at[name.replaceAll('~1', '/').replaceAll('~0', '~')] : undefined),
    value,
  )
}

function isMembers(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
