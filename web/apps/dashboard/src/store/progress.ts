/** The progress that this page has seen of the stages that run now: what rates are made of. */

import type { Client, RunDocument } from '@runstate/client'
import { instant } from '../format.ts'
import { type Sample, withSample } from '../model/rate.ts'
import { type Readable, writable } from './observable.ts'

/** Samples by `attemptKey`. */
export type Observed = Readonly<Record<string, readonly Sample[]>>

export function attemptKey(runId: string, stage: string, attempt: number): string {
  return `${runId} ${stage} ${attempt}`
}

export function createProgress(client: Client): Readable<Observed> {
  const observed = writable<Observed>({})
  const look = () => {
    const before = observed.get()
    // Only what runs now is kept: a finished attempt has its own times.
    const now: Record<string, readonly Sample[]> = {}
    for (const { document } of Object.values(client.getView().runs)) {
      const sample = sampleOf(document)
      if (sample !== null) now[sample.key] = withSample(before[sample.key] ?? [], sample)
    }
    if (!sameObserved(before, now)) observed.set(now)
  }
  // For the life of the page, and before any component: a render finds the sample of the version that it shows.
  client.subscribe(look)
  look()
  return observed
}

function sampleOf(run: RunDocument): (Sample & { readonly key: string }) | null {
  const stage = run.current_stage === null ? undefined : run.stages[run.current_stage]
  const at = instant(run.updated_at)
  if (run.run_id === null || run.current_stage === null || stage?.state !== 'running' || at === null) return null
  if (stage.progress === null) return null
  return { key: attemptKey(run.run_id, run.current_stage, stage.attempt), at, done: stage.progress.done }
}

function sameObserved(a: Observed, b: Observed): boolean {
  const keys = Object.keys(b)
  return keys.length === Object.keys(a).length && keys.every((key) => a[key] === b[key])
}
