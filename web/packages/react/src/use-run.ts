import type { RunDocument } from '@runstate/client'
import { useView } from './use-view.ts'

/**
 * Return the document of run `id` as the stream shows it, or what `select` picks from it; undefined while the stream
 * does not show that run.
 */
export function useRun(id: string | null): RunDocument | undefined
export function useRun<T>(id: string | null, select: (run: RunDocument) => T): T | undefined
export function useRun<T>(id: string | null, select?: (run: RunDocument) => T): RunDocument | T | undefined {
  return useView((view) => {
    const run = id === null ? undefined : view.runs[id]?.document
    return run === undefined || select === undefined ? run : select(run)
  })
}
