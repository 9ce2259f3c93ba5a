/** How components reach the stores. The stores are made in `main.tsx`, outside React. */

import { createContext, type ReactNode, useContext, useEffect, useSyncExternalStore } from 'react'
import { dayOf } from '../format.ts'
import type { Sample } from '../model/rate.ts'
import type { Command, Commands } from '../store/commands.ts'
import type { Readable } from '../store/observable.ts'
import { attemptKey, type Observed } from '../store/progress.ts'
import type { RecentRuns, RecentRunsStore } from '../store/recent-runs.ts'
import type { Route } from '../store/route.ts'

export interface Stores {
  readonly clock: Readable<number>
  readonly route: Readable<Route>
  readonly commands: Commands
  readonly recent: RecentRunsStore
  readonly progress: Readable<Observed>
}

const StoresContext = createContext<Stores | null>(null)

export function StoresProvider({ stores, children }: { readonly stores: Stores; readonly children: ReactNode }) {
  return <StoresContext.Provider value={stores}>{children}</StoresContext.Provider>
}

export function useStores(): Stores {
  const stores = useContext(StoresContext)
  if (stores === null) throw new Error('no stores: this component belongs inside <StoresProvider>')
  return stores
}

export function useRoute(): Route {
  return useReadable(useStores().route)
}

/** Return the reader's time, renewed each second while `ticking`. */
export function useNow(ticking: boolean): number {
  const { clock } = useStores()
  return useSyncExternalStore(ticking ? clock.subscribe : never, clock.get, clock.get)
}

/** Return when the reader's day began: it changes at midnight, not each second. */
export function useToday(): number {
  const { clock } = useStores()
  const today = () => dayOf(clock.get())
  return useSyncExternalStore(clock.subscribe, today, today)
}

/** Return the command of `pipeline` that has not shown its effect yet, or was refused. */
export function useCommand(pipeline: string): Command | undefined {
  return useReadable(useStores().commands)[pipeline]
}

const LOADING: RecentRuns = { runs: [], state: 'loading' }

export function useRecentRuns(pipeline: string): RecentRuns {
  const { recent } = useStores()
  useEffect(() => recent.watch(pipeline), [recent, pipeline])
  return useReadable(recent)[pipeline] ?? LOADING
}

const NO_SAMPLES: readonly Sample[] = []

/** Return the progress of one attempt as this page has seen it. */
export function useSamples(runId: string | null, stage: string, attempt: number): readonly Sample[] {
  const observed = useReadable(useStores().progress)
  return (runId === null ? undefined : observed[attemptKey(runId, stage, attempt)]) ?? NO_SAMPLES
}

function useReadable<T>(store: Readable<T>): T {
  return useSyncExternalStore(store.subscribe, store.get, store.get)
}

const never = () => () => {}
