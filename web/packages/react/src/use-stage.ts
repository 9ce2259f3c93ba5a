import type { StageRecord } from '@runstate/client'
import { useRun } from './use-run.ts'

/** Return the record of one stage of run `id`, or what `select` picks from it; undefined while it is not shown. */
export function useStage(id: string | null, stage: string): StageRecord | undefined
export function useStage<T>(id: string | null, stage: string, select: (record: StageRecord) => T): T | undefined
export function useStage<T>(
  id: string | null,
  stage: string,
  select?: (record: StageRecord) => T,
): StageRecord | T | undefined {
  return useRun(id, (run) => {
    const record = run.stages[stage]
    return record === undefined || select === undefined ? record : select(record)
  })
}
