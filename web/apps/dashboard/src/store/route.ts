/** Which page is shown, in the address after `#`: it can be bookmarked, and the server need not know of it. */

import { type Readable, writable } from './observable.ts'

/** What a list of runs is narrowed to; empty: everything. */
export interface Filters {
  readonly pipeline: string
  readonly status: string
  /** Started within so many hours. */
  readonly hours: string
}

export type Route =
  | { readonly page: 'overview' }
  /** A pipeline and its current run, whichever that is. */
  | { readonly page: 'pipeline'; readonly pipeline: string }
  /** One run, whatever is current; as it was at `version`, or as it is. */
  | { readonly page: 'run'; readonly pipeline: string; readonly run: string; readonly version: number | null }
  | { readonly page: 'runs'; readonly filters: Filters }
  | { readonly page: 'compare'; readonly runs: readonly [string, string] }

export function parseRoute(hash: string): Route {
  const [path = '', search = ''] = hash.replace(/^#\/?/, '').split('?')
  const query = new URLSearchParams(search)
  const [page, pipeline, runs, run] = path.split('/').map(decoded)
  if (page === 'pipelines' && pipeline) {
    if (runs !== 'runs' || !run) return { page: 'pipeline', pipeline }
    const version = Number(query.get('version'))
    return { page: 'run', pipeline, run, version: Number.isSafeInteger(version) && version > 0 ? version : null }
  }
  if (page === 'runs') {
    const of = (name: string) => query.get(name) ?? ''
    return { page: 'runs', filters: { pipeline: of('pipeline'), status: of('status'), hours: of('hours') } }
  }
  if (page === 'compare') return { page: 'compare', runs: [query.get('a') ?? '', query.get('b') ?? ''] }
  return { page: 'overview' }
}

export function hrefTo(pipeline: string, run?: string, version?: number): string {
  const base = `#/pipelines/${encodeURIComponent(pipeline)}`
  if (run === undefined) return base
  return `${base}/runs/${encodeURIComponent(run)}${version === undefined ? '' : `?version=${version}`}`
}

export function hrefToRuns(filters: Partial<Filters> = {}): string {
  const set = Object.entries(filters).filter(([, value]) => value !== '')
  return `#/runs${set.length === 0 ? '' : `?${new URLSearchParams(set)}`}`
}

export function hrefToCompare(a: string, b: string): string {
  return `#/compare?${new URLSearchParams({ a, b })}`
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
