/**
 * How fast a stage goes and when it may be done, from the progress that this page has seen. Pure.
 *
 * Times are the documents' own (`updated_at`), so a late frame does not look like slow work. A page that has just been
 * opened has seen nothing and says nothing.
 */

export interface Sample {
  /** When the server committed it, ms since 1970. */
  readonly at: number
  readonly done: number
}

/** Older samples say how it went, not how it goes. */
const WINDOW_MS = 30_000
/** Below this, two commits beside each other would decide. */
const LEAST_SPAN_MS = 1_500
const MOST_SAMPLES = 120
const LEAST_PATIENCE_MS = 10_000

/** Return `samples` with the next one: those of the window, oldest first. Going back (a new attempt) starts anew. */
export function withSample(samples: readonly Sample[], next: Sample): readonly Sample[] {
  const last = samples.at(-1)
  if (last !== undefined) {
    if (next.done === last.done) return samples
    if (next.done < last.done || next.at < last.at) return [next]
  }
  const kept = samples.filter((sample) => sample.at >= next.at - WINDOW_MS)
  // One sample from before the window keeps a slow stage measurable.
  const before = kept.length === 0 && last !== undefined ? [last] : kept
  return [...before.slice(-(MOST_SAMPLES - 1)), next]
}

/** Return the speed over the window in units per second, null when too little was seen. */
export function perSecond(samples: readonly Sample[]): number | null {
  const first = samples[0]
  const last = samples.at(-1)
  if (first === undefined || last === undefined || last.at - first.at < LEAST_SPAN_MS) return null
  return ((last.done - first.done) * 1_000) / (last.at - first.at)
}

/**
 * Return the milliseconds that are left at `now`, null when that is not known: no speed, no total, or no progress for
 * three times as long as the next step should have taken.
 */
export function left(samples: readonly Sample[], total: number | null, now: number): number | null {
  const first = samples[0]
  const last = samples.at(-1)
  const speed = perSecond(samples)
  if (first === undefined || last === undefined || speed === null || speed <= 0) return null
  if (total === null || total < last.done) return null
  const since = Math.max(0, now - last.at)
  const step = (last.at - first.at) / (samples.length - 1)
  if (since > Math.max(3 * step, LEAST_PATIENCE_MS)) return null
  return Math.max(0, ((total - last.done) / speed) * 1_000 - since)
}
