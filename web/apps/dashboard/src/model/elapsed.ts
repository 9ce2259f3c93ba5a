import { instant } from '../format.ts'

/**
 * Return how long something lasted, or has lasted by `now`, in ms; null if it has not begun or `now` is not known.
 *
 * A clock of the reader that runs behind the server's never makes it negative.
 */
export function elapsed(startedAt: string | null, endedAt: string | null, now: number | null): number | null {
  const from = instant(startedAt)
  const to = instant(endedAt) ?? now
  return from === null || to === null ? null : Math.max(0, to - from)
}
