/** One sentence under the title that says how the run stands; there is always one, so the page never jumps. Pure. */

import type { RunDocument } from '@runstate/client'
import { isStopping } from './run.ts'

type Told = Pick<RunDocument, 'pipeline' | 'run_id' | 'state' | 'status' | 'current_stage' | 'stop_requested'> &
  Pick<RunDocument, 'stage_order' | 'stages' | 'error_code'>

export function ledeFor(run: Told): string {
  if (isStopping(run)) return stopping(run)
  const where = failedStage(run)
  const code = run.error_code === null ? '' : ` (${run.error_code})`
  switch (run.state) {
    case 'idle':
      return run.run_id === null ? 'It has never run. Start begins its first run.' : 'Nothing is running.'
    case 'scheduled':
      return 'Due, and waiting for its turn.'
    case 'starting':
      return 'Getting the first stage ready.'
    case 'retrying':
      return `${run.current_stage ?? 'A stage'} will be tried again${code}.`
    case 'success':
      return 'Every stage is done.'
    case 'failed':
      return `Failed${where === null ? '' : ` in ${where}`}${code}.`
    case 'stopped':
      return `Stopped${where === null ? '' : ` in ${where}`} on request.`
    default:
      return running(run)
  }
}

/** Return the run's error when no stage carries it: then it has no other place on the page. */
export function ownError(run: Pick<RunDocument, 'error' | 'stages'>): string | null {
  return Object.values(run.stages).some((stage) => stage.error === run.error) ? null : run.error
}

/** What a stop will do to the run as it stands, before somebody asks for it. */
export function stopWords(run: Pick<RunDocument, 'state' | 'current_stage'>): string {
  const stage = runningStage(run)
  if (stage !== null) {
    return `This asks ${stage} to end, and kills it and everything it started if it has not ended after its grace period. Then the run is stopped. Finished stages stay finished.`
  }
  return run.current_stage === null
    ? 'No stage has begun; the run is stopped before one does.'
    : `${run.current_stage} waits to be tried again; it is not, and the run is stopped. Finished stages stay finished.`
}

/** What a retry will do to the run as it stands, before somebody asks for it. */
export function retryWords(run: Pick<RunDocument, 'stage_order' | 'stages'>): string {
  const next = run.stage_order.find((name) => !['success', 'skipped'].includes(run.stages[name]?.state ?? ''))
  if (next === undefined) return 'The same run goes on after its last stage.'
  const kept = run.stage_order.filter((name) => run.stages[name]?.state === 'success')
  const attempt = (run.stages[next]?.attempt ?? 0) + 1
  const before =
    kept.length === 0
      ? 'No stage has finished, so nothing is skipped.'
      : `${kept.join(', ')} stay finished, with their outputs.`
  return `The same run goes on at ${next}, with attempt ${attempt}. ${before} Its automatic retries are granted again.`
}

/** Return the stage that has somebody to stop: while a stage waits for its retry, nobody runs. */
function runningStage({ state, current_stage }: Pick<RunDocument, 'state' | 'current_stage'>): string | null {
  return state === `running_${current_stage}` ? current_stage : null
}

function stopping(run: Told): string {
  const { by, reason } = run.stop_requested ?? { by: null, reason: null }
  const asked = `Asked to stop${by === null ? '' : ` by ${by}`}${reason === null ? '' : ` (${reason})`}`
  const stage = runningStage(run)
  return stage === null ? `${asked}.` : `${asked}; ${stage} is killed if it outlasts its grace period.`
}

function running(run: Told): string {
  const place = run.current_stage === null ? -1 : run.stage_order.indexOf(run.current_stage)
  if (place < 0) return `State ${run.state}: this page does not know that word.`
  return `Stage ${place + 1} of ${run.stage_order.length}.`
}

/** Return the stage in which the run ended early. */
export function failedStage(run: Pick<RunDocument, 'stage_order' | 'stages'>): string | null {
  return run.stage_order.find((name) => ['failed', 'stopped'].includes(run.stages[name]?.state ?? '')) ?? null
}
