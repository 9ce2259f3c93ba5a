/**
 * How each run that the view shows came to the version on the page: out of the two documents themselves.
 *
 * Law: nothing is asked for, so it is never late. A page that shows versions 22 and then 27 (mode latest, D2) has a step
 * from 22 to 27 and says so.
 */
import type { Client, RunDocument } from '@runstate/client'
import { isNewer } from '../model/recent.ts'
import { type Readable, writable } from './observable.ts'

export interface Step {
  readonly before: RunDocument
  readonly after: RunDocument
}

/** By run id; none for a run that has not moved since the page was opened. */
export type Steps = Readonly<Record<string, Step>>

export function createSteps(client: Client): Readable<Steps> {
  const steps = writable<Steps>({})
  let last = client.getView().runs
  // For the life of the page, and before any component: a render finds the step to the version that it shows.
  client.subscribe(() => {
    const { runs } = client.getView()
    if (runs === last) return
    const next: Record<string, Step> = {}
    for (const [id, { document }] of Object.entries(runs)) {
      const before = last[id]?.document
      const known = steps.get()[id]
      if (before !== undefined && isNewer(document, before)) next[id] = { before, after: document }
      else if (known?.after.version === document.version && before !== undefined) next[id] = known
    }
    last = runs
    steps.set(next)
  })
  return steps
}
