/** What a run's state word means to a reader. Pure; the words are PROTOCOL D2 and D4. */

import type { RunDocument } from '@runstate/client'

export type StageRecord = RunDocument['stages'][string]

/** One shape and one colour per look; `unknown` is for words that this page does not know, never `idle`. */
export type Look =
  | 'idle'
  | 'pending'
  | 'scheduled'
  | 'running'
  | 'retrying'
  | 'stopping'
  | 'success'
  | 'failed'
  | 'stopped'
  | 'skipped'
  | 'unknown'

const WORDS: Readonly<Record<string, Look>> = {
  idle: 'idle',
  scheduled: 'scheduled',
  starting: 'running',
  retrying: 'retrying',
  success: 'success',
  failed: 'failed',
  stopped: 'stopped',
}

const STAGE_LOOKS = {
  pending: 'pending',
  running: 'running',
  retrying: 'retrying',
  success: 'success',
  failed: 'failed',
  stopped: 'stopped',
  skipped: 'skipped',
} as const satisfies Record<StageRecord['state'], Look>

const RUNNING = 'running_'

/** What tells a run's look: every shown document has these members. */
export type Standing = Pick<RunDocument, 'state' | 'status' | 'stop_requested'>

export function lookOf(run: Standing): Look {
  if (isStopping(run)) return 'stopping'
  if (run.state.startsWith(RUNNING)) return 'running'
  return WORDS[run.state] ?? 'unknown'
}

export function stageLook(stage: StageRecord): Look {
  return STAGE_LOOKS[stage.state] ?? 'unknown'
}

/** The state in words: `running analyzer`, `stopping…`. */
export function stateWords(run: Standing): string {
  if (isStopping(run)) return 'stopping…'
  return run.state.startsWith(RUNNING) ? `running ${run.state.slice(RUNNING.length)}` : run.state
}

/** Whether something is being done for the run: scheduled, starting, running or retrying (D3). */
export function isActive(run: Standing): boolean {
  return run.status === 'running'
}

/** Whether somebody asked the run to stop and it has not ended yet. */
export function isStopping(run: Standing): boolean {
  return isActive(run) && run.stop_requested !== null
}

/** Whether a new run may begin beside this one being the current: only where the known words say so. */
export function mayStart(run: Standing): boolean {
  return ['idle', 'success', 'failed', 'stopped'].includes(run.state)
}

/** Whether a stop makes sense: the run is active and nobody has asked yet. */
export function mayStop(run: Standing): boolean {
  return isActive(run) && run.stop_requested === null
}

/** Whether the run can go on from the stage that did not finish (PROTOCOL C6). */
export function mayRetry(run: Pick<RunDocument, 'state' | 'run_id'>): boolean {
  return run.run_id !== null && (run.state === 'failed' || run.state === 'stopped')
}
