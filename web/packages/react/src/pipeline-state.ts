/**
 * What a pipeline's state is, as a value of the view. Pure.
 *
 * Three cases and no fourth: nothing known yet (every member null, never a made-up `idle`), never run (PROTOCOL D5),
 * and the current run's document, whose members pass unchanged.
 */

import type { PipelineDocument, RunDocument, View } from '@runstate/client'

type StageRecord = RunDocument['stages'][string]

/** Every member of a run's document, null: the stream has not shown the pipeline yet. */
export type UnknownState = { readonly [member in keyof RunDocument]: null }

export type Shown = RunDocument | UnknownState

/** The current run's document plus the link that feeds it. `state === null` means that nothing is known yet. */
export type PipelineState = Shown & { readonly link: View['link'] }

/** Return the state of `pipeline`, of the first pipeline without a name. */
export function stateOf(view: View, pipeline?: string): Shown {
  const name = pipeline ?? Object.keys(view.pipelines)[0]
  const known = name === undefined ? undefined : view.pipelines[name]?.document
  if (known === undefined) return UNKNOWN
  if (known.current_run_id === null) return neverRun(known, view.position)
  // A commit that changes `current_run_id` also touches that run (D8), and both come in one transition (F5).
  return view.runs[known.current_run_id]?.document ?? UNKNOWN
}

const memory = new WeakMap<PipelineDocument, RunDocument>()

/** Return the document that a pipeline has before its first run (D5): the same object for the same pipeline document. */
export function neverRun(pipeline: PipelineDocument, position: string | null): RunDocument {
  const epoch = position?.split('.')[0] ?? pipeline.epoch
  const made = memory.get(pipeline)
  if (made?.epoch === epoch) return made
  const document: RunDocument = {
    schema: 1,
    epoch,
    pipeline: pipeline.pipeline,
    run_id: null,
    version: 0,
    state: 'idle',
    status: 'idle',
    current_stage: null,
    started_at: null,
    updated_at: null,
    ended_at: null,
    retry_count: 0,
    error: null,
    error_code: null,
    metadata: {},
    trigger: null,
    stop_requested: null,
    stage_order: pipeline.stage_order,
    stages: Object.fromEntries(pipeline.stage_order.map((stage) => [stage, PENDING])),
  }
  memory.set(pipeline, document)
  return document
}

const PENDING: StageRecord = {
  state: 'pending',
  attempt: 0,
  started_at: null,
  ended_at: null,
  heartbeat_at: null,
  progress: null,
  error: null,
  error_code: null,
  outputs: {},
}

const UNKNOWN: UnknownState = {
  schema: null,
  epoch: null,
  pipeline: null,
  run_id: null,
  version: null,
  state: null,
  status: null,
  current_stage: null,
  started_at: null,
  updated_at: null,
  ended_at: null,
  retry_count: null,
  error: null,
  error_code: null,
  metadata: null,
  trigger: null,
  stop_requested: null,
  stage_order: null,
  stages: null,
}
