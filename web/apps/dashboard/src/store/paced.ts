/**
 * A client whose view moves at most once per `gapMs`: a page cannot show a thousand commits a second, and must not try.
 *
 * Law: the first change after a pause shows at once, the last one always; every store of the page reads this client, so
 * all of it is of one moment.
 */
import type { Client } from '@runstate/client'

/** What it needs from the world. */
export interface Pace {
  readonly now: () => number
  readonly later: (call: () => void, ms: number) => void
}

const BROWSER: Pace = { now: () => performance.now(), later: (call, ms) => void setTimeout(call, ms) }

export function paced(client: Client, gapMs = 60, { now, later }: Pace = BROWSER): Client {
  const listeners = new Set<() => void>()
  let view = client.getView()
  let movedAt = Number.NEGATIVE_INFINITY
  let waiting = false
  const move = () => {
    waiting = false
    if (view === client.getView()) return
    view = client.getView()
    for (const listener of [...listeners]) listener()
    // What the listeners took counts: a slow page leaves time for what else the reader does.
    movedAt = now()
  }
  client.subscribe(() => {
    if (waiting) return
    const wait = movedAt + gapMs - now()
    if (wait <= 0) return move()
    waiting = true
    later(move, wait)
  })
  return {
    ...client,
    getView: () => view,
    subscribe(listener) {
      const own = () => listener()
      listeners.add(own)
      return () => void listeners.delete(own)
    },
  }
}
