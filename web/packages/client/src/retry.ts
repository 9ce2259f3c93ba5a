/**
 * Whether a command that brought no result is sent again (PROTOCOL C3), and when.
 *
 * Law: only where its key makes that safe and another try may help: nobody answered, so whether it was taken is not
 * known, or a server said 503. Every other answer is final.
 */
import { delayMs } from './backoff.ts'

const MOST_RETRIES = 3
const LONGEST_RETRY_AFTER_MS = 10_000 // whoever waits for the command is told rather than kept longer
const UNAVAILABLE = 503

/**
 * Return the wait before the next try in milliseconds, null if the result stands. `retries` counts from 0; `status` null:
 * there was no answer; `retryAfterMs` is 0 where the server did not say; `random` is drawn evenly from [0, 1).
 */
export function retryInMs(
  retries: number,
  { status, retryAfterMs, random }: { status: number | null; retryAfterMs: number; random: number },
): number | null {
  if (status !== null && status !== UNAVAILABLE) return null
  if (retries >= MOST_RETRIES || retryAfterMs > LONGEST_RETRY_AFTER_MS) return null
  return retryAfterMs + delayMs(retries, random)
}
