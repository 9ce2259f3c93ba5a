/** Time and timers, as a port: tests bring their own. */

export type Timer = unknown

export interface Clock {
  /** Milliseconds; never goes back. */
  now(): number
  setTimeout(call: () => void, delayMs: number): Timer
  clearTimeout(timer: Timer): void
}

/**
 * Return the system's clock. It follows the wall, because `performance.now()` stands still while a laptop sleeps and a
 * view must be stale the moment it wakes; but when the wall clock is set back it goes on from where it was.
 */
export function systemClock(): Clock {
  let ahead = 0
  let last = 0
  return {
    now: () => {
      const wall = Date.now()
      ahead = Math.max(ahead, last - wall)
      last = wall + ahead
      return last
    },
    setTimeout: (call, delayMs) => globalThis.setTimeout(call, delayMs),
    clearTimeout: (timer) => globalThis.clearTimeout(timer as ReturnType<typeof setTimeout>),
  }
}
