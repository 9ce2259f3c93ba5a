/**
 * How long a client waits before it tries again (PROTOCOL F13).
 *
 * Law: full jitter, so that a thousand clients of one restarted server do not come back at one moment; the ceiling
 * doubles from 0.25 s to 30 s and there is no last try. Randomness is an argument.
 */
const FIRST_CEILING_MS = 250
const LAST_CEILING_MS = 30_000
const DOUBLINGS = 7 // 250 ms × 2^7 is beyond the last ceiling

/** Return the wait in milliseconds; `failures` counts from 0, `random` is drawn evenly from [0, 1). */
export function delayMs(failures: number, random: number): number {
  const ceiling = Math.min(LAST_CEILING_MS, FIRST_CEILING_MS * 2 ** Math.min(failures, DOUBLINGS))
  return Math.floor(random * ceiling)
}
