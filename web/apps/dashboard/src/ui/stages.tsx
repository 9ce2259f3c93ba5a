import type { RunDocument } from '@runstate/client'
import type { ReactNode } from 'react'
import { StageRow } from './stage-row.tsx'

interface Props {
  readonly run: Pick<RunDocument, 'run_id' | 'stage_order' | 'stages'>
  /** How long each stage took when it last succeeded, ms. */
  readonly lastTimes: Readonly<Record<string, number>>
  readonly now: number | null
}

export function Stages({ run, lastTimes, now }: Props): ReactNode {
  return (
    <section aria-labelledby="stages">
      <h2 id="stages">Stages</h2>
      <ol className="stages">
        {run.stage_order.map((name) => {
          const stage = run.stages[name]
          return (
            stage && (
              <StageRow key={name} runId={run.run_id} name={name} stage={stage} lastTime={lastTimes[name]} now={now} />
            )
          )
        })}
      </ol>
    </section>
  )
}
