/** How components reach the stores. The stores are made in `main.tsx`, outside React. */

import type { LogLine } from '@runstate/client'
import { createContext, type ReactNode, useContext, useEffect, useSyncExternalStore } from 'react'
import { dayOf } from '../format.ts'
import type { Sample } from '../model/rate.ts'
import type { Command } from '../store/commands.ts'
import type { Log } from '../store/log.ts'
import type { Lookup } from '../store/lookups.ts'
import type { Stores } from '../store/make.ts'
import type { Readable } from '../store/observable.ts'
import { attemptKey } from '../store/progress.ts'
import type { RecentRuns } from '../store/recent-runs.ts'
import type { Route } from '../store/route.ts'
import type { Step } from '../store/steps.ts'
import { tailKey } from '../store/tails.ts'
import type { LookBack } from '../store/versions.ts'

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

/** Return a run that is asked for by its id; undefined while nothing was wanted. */
export function useLookup(id: string): Lookup | undefined {
  const { lookups } = useStores()
  useEffect(() => {
    if (id !== '') lookups.want(id)
  }, [lookups, id])
  return useReadable(lookups)[id]
}

/** Return the run as it was at `version`; nothing is asked for null. */
export function useVersion(run: string | null, version: number | null): LookBack {
  const { versions } = useStores()
  useEffect(() => {
    if (run !== null && version !== null) versions.look(run, version)
  }, [versions, run, version])
  return useLookBack()
}

/** Return the version that somebody looks at. */
export function useLookBack(): LookBack {
  return useReadable(useStores().versions)
}

/** Return how the run came to the version that the page shows; undefined while it has not moved. */
export function useStep(run: string | null): Step | undefined {
  const steps = useReadable(useStores().steps)
  return run === null ? undefined : steps[run]
}

export function useLog(runId: string): Log {
  return useReadable(useStores().logs(runId))
}

const NO_LINES: readonly LogLine[] = []

/** Return the last lines that a stage has logged. */
export function useTail(runId: string, stage: string): readonly LogLine[] {
  const { tails } = useStores()
  useEffect(() => tails.want(runId, stage), [tails, runId, stage])
  return useReadable(tails)[tailKey(runId, stage)] ?? NO_LINES
}

const NO_SAMPLES: readonly Sample[] = []

/** Return the progress of one attempt as this page has seen it. */
export function useSamples(runId: string | null, stage: string, attempt: number): readonly Sample[] {
  const observed = useReadable(useStores().progress)
  return (runId === null ? undefined : observed[attemptKey(runId, stage, attempt)]) ?? NO_SAMPLES
}

export function useReadable<T>(store: Readable<T>): T {
  return useSyncExternalStore(store.subscribe, store.get, store.get)
}

const never = () => () => {}
