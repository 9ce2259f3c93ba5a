/**
 * The one door between React and the client's store; every other hook is a selector over this one.
 *
 * The view is swapped whole once per transition (PROTOCOL F5), so whatever one render reads through this hook is of one
 * moment. React's `useSyncExternalStore` holds that across components; StrictMode may call everything twice, nothing
 * here counts calls.
 */

import type { View } from '@runstate/client'
import { useCallback, useEffect, useMemo, useRef, useSyncExternalStore } from 'react'
import { useClient } from './provider.tsx'
import { shallowEqual } from './shallow.ts'

/** What a server renders and what hydration starts from: nothing is known yet. */
const NOTHING_YET: View = Object.freeze({
  link: Object.freeze({ state: 'connecting', since: 0, lastFrameAt: null, sourceAgeMs: null, transport: null }),
  position: null,
  pipelines: Object.freeze({}),
  runs: Object.freeze({}),
})

/**
 * Return what `select` picks from the view; renders again only when that changes.
 *
 * `select` is pure and may be written inline. A selection that is equal one level down keeps its identity.
 */
export function useView<T>(select: (view: View) => T): T {
  const client = useClient()
  const committed = useRef<{ readonly value: T } | null>(null)
  const pick = useMemo(() => remembering(select, committed), [select])
  const subscribe = useCallback((wake: () => void) => client.subscribe(wake), [client])
  const value = useSyncExternalStore(
    subscribe,
    () => pick(client.getView()),
    () => pick(NOTHING_YET),
  )
  useEffect(() => {
    committed.current = { value }
  }, [value])
  return value
}

/** Return `select` with a memory of one: the same view gives the same object, an equal selection the earlier one. */
function remembering<T>(select: (view: View) => T, committed: { readonly current: { readonly value: T } | null }) {
  let last: { readonly view: View; readonly value: T } | null = null
  return (view: View): T => {
    if (last?.view === view) return last.value
    const value = select(view)
    const before = last ?? committed.current
    last = { view, value: before !== null && shallowEqual(before.value, value) ? before.value : value }
    return last.value
  }
}
