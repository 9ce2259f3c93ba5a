/**
 * The recent runs of one pipeline: a list that was fetched, corrected by what the stream shows. Pure.
 *
 * For a run that the stream follows, the stream decides (PROTOCOL F11). For any other the newer version wins: by epoch,
 * then by version, both of which only grow.
 */

import type { RunDocument, View } from '@runstate/client'

/** Return the runs, newest first, at most `limit`; `listed` is newest first, as the server gave it. */
export function mergeRuns(
  listed: readonly RunDocument[],
  view: View,
  pipeline: string,
  limit: number,
): readonly RunDocument[] {
  const current = view.pipelines[pipeline]?.document.current_run_id ?? null
  const merged = new Map<string, RunDocument>()
  const streamed = Object.values(view.runs).map((entry) => entry.document)
  const fresh = streamed.filter((run) => run.pipeline === pipeline && !listed.some((old) => old.run_id === run.run_id))
  for (const run of [...fresh.sort(byStart), ...listed]) {
    if (run.run_id === null) continue
    const shown = view.runs[run.run_id]?.document
    const wins = shown !== undefined && (run.run_id === current || isNewer(shown, run))
    merged.set(run.run_id, wins ? shown : run)
  }
  return [...merged.values()].slice(0, limit)
}

/** Return whether `a` is a later state of the same run than `b`. */
export function isNewer(a: RunDocument, b: RunDocument): boolean {
  return a.epoch === b.epoch ? a.version > b.version : epochNumber(a.epoch) > epochNumber(b.epoch)
}

/** What the list depends on: another run, or an end of this one, means asking again. */
export function listKey(view: View, pipeline: string): string | null {
  const document = view.pipelines[pipeline]?.document
  if (document === undefined) return null
  const id = document.current_run_id
  const run = id === null ? undefined : view.runs[id]?.document
  return `${id ?? ''} ${run !== undefined && run.ended_at !== null ? `${run.state} ${run.ended_at}` : ''}`
}

function epochNumber(epoch: string): number {
  return Number(epoch.split('-')[0])
}

/** Only for runs that no list has placed yet: the later start first; the text of a time sorts as the time does. */
function byStart(a: RunDocument, b: RunDocument): number {
  return (b.started_at ?? '').localeCompare(a.started_at ?? '')
}

/** Return the later of what was fetched and what the view shows of the same run. */
export function newest(fetched: RunDocument, streamed: RunDocument | undefined): RunDocument {
  return streamed === undefined || isNewer(fetched, streamed) ? fetched : streamed
}
