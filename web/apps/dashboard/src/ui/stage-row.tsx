import type { ReactNode } from 'react'
import { took, whole } from '../format.ts'
import { elapsed } from '../model/elapsed.ts'
import { type StageRecord, stageLook } from '../model/run.ts'
import { ErrorText } from './error-text.tsx'
import { ProgressBar } from './progress-bar.tsx'
import { howNote, whatNote } from './stage-notes.ts'
import { StateMark } from './state-mark.tsx'
import { useSamples } from './stores.tsx'

interface Props {
  readonly runId: string | null
  readonly name: string
  readonly stage: StageRecord
  readonly lastTime: number | undefined
  /** The moment that the page shows; null when it is not known. */
  readonly now: number | null
}

/** One stage: three lines that keep their places whatever happens, and its error when it has one. */
export function StageRow({ runId, name, stage, lastTime, now }: Props): ReactNode {
  const samples = useSamples(runId, name, stage.attempt)
  const look = stageLook(stage)
  const lasted = elapsed(stage.started_at, stage.ended_at, now)
  return (
    <li className="stage" data-look={look} data-stage={name} data-state={stage.state}>
      <StateMark look={look} />
      <span className="stage-name" title={name}>
        {name}
        <span className="unseen">, {stage.state}</span>
      </span>
      <ProgressBar stage={name} look={look} progress={stage.progress} />
      <span className="stage-time">
        {lasted === null ? '–' : stage.ended_at === null ? whole(lasted) : took(lasted)}
      </span>
      <span className="stage-attempt">{attemptNote(stage)}</span>
      <span className="stage-notes">
        <span className="what">{whatNote(stage)}</span>
        <span className="how">{howNote(stage, { samples, lastTime, now })}</span>
      </span>
      {stage.error !== null && <ErrorText error={stage.error} code={stage.error_code} />}
    </li>
  )
}

function attemptNote(stage: StageRecord): string {
  if (stage.state === 'skipped') return 'skipped'
  if (stage.state === 'retrying') return `attempt ${stage.attempt} failed`
  return stage.attempt === 0 ? 'not begun' : `attempt ${stage.attempt}`
}
