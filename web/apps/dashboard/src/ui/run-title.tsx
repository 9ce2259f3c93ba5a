import type { RunDocument } from '@runstate/client'
import type { ReactNode } from 'react'
import { shortId, took, whole } from '../format.ts'
import { elapsed } from '../model/elapsed.ts'
import { lookOf, stateWords } from '../model/run.ts'
import { StatePill } from './state-pill.tsx'

interface Props {
  readonly run: RunDocument
  readonly now: number | null
  /** The buttons, if any. */
  readonly children?: ReactNode
}

export function RunTitle({ run, now, children }: Props): ReactNode {
  const lasted = elapsed(run.started_at, run.ended_at, now)
  return (
    <div className="title">
      <h1>
        {run.pipeline}
        {run.run_id !== null && (
          <>
            <span className="title-run"> run </span>
            <span className="title-id mono" title={run.run_id}>
              {shortId(run.run_id)}
            </span>
          </>
        )}
      </h1>
      <StatePill look={lookOf(run)} words={stateWords(run)} state={run.state} />
      <span className="title-time">{lasted === null ? '' : run.ended_at === null ? whole(lasted) : took(lasted)}</span>
      {children}
    </div>
  )
}
