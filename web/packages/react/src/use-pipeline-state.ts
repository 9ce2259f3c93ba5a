import { useMemo } from 'react'
import { type PipelineState, stateOf } from './pipeline-state.ts'
import { useView } from './use-view.ts'

/**
 * Return the canonical state of a pipeline: its current run's document, member by member as the server committed it
 * (`state`, the coarse `status`, `run_id`, `current_stage`, `started_at`, …), plus `link`.
 *
 * A pipeline that has never run is `idle` with `run_id` null and version 0 (PROTOCOL D5). Before the first snapshot, and
 * for a name that no pipeline has, every member is null: nothing is guessed.
 *
 * @param pipeline Its name; without one, the first pipeline that the server named.
 */
export function usePipelineState(pipeline?: string): PipelineState {
  const { shown, link } = useView((view) => ({ shown: stateOf(view, pipeline), link: view.link }))
  return useMemo(() => ({ ...shown, link }), [shown, link])
}
