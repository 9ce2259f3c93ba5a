/** Which page is shown, in the address after `#`: it can be bookmarked, and the server need not know of it. */

import { type Readable, writable } from './observable.ts'

/** `#/market`: a pipeline and its current run; `#/market/runs/01JD…`: one run of it, whatever is current; else null. */
export interface Route {
  readonly pipeline: string | null
  readonly run: string | null
}

export function parseRoute(hash: string): Route {
  const [pipeline, runs, run] = hash.replace(/^#\/?/, '').split('/').map(decoded)
  return { pipeline: pipeline || null, run: (runs === 'runs' && run) || null }
}

export function hrefTo(pipeline: string, run?: string): string {
  const base = `#/${encodeURIComponent(pipeline)}`
  return run === undefined ? base : `${base}/runs/${encodeURIComponent(run)}`
}

/** Watch the address of `window`; it lives as long as the page does. */
export function createRoute(window: Window): Readable<Route> {
  const route = writable(parseRoute(window.location.hash))
  window.addEventListener('hashchange', () => route.set(parseRoute(window.location.hash)))
  return route
}

/** A half-typed escape (`%4`) stands for itself. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}
