import type { PipelineDocument } from '@runstate/client'
import type { ReactNode } from 'react'
import { Facts } from './facts.tsx'
import { Moment } from './moment.tsx'

/** How the pipeline stands apart from any one run: its health, and why and when it runs by itself. */
export function PipelineFacts({ pipeline }: { readonly pipeline: PipelineDocument }): ReactNode {
  const { health, schedule } = pipeline
  return (
    <Facts
      title={pipeline.pipeline}
      facts={[
        [
          'Health',
          <span key="health" data-health={health.state}>
            {health.state}
          </span>,
          health.reasons.join('; '),
        ],
        ...(health.reasons.length === 0
          ? []
          : ([
              [
                'Because',
                <span className="wrapped" key="why">
                  {health.reasons.join('; ')}
                </span>,
              ],
            ] as const)),
        ...(schedule === null
          ? ([['Schedule', 'none']] as const)
          : ([
              ['Schedule', `${schedule.cron}, ${schedule.tz}${schedule.enabled ? '' : ' (off)'}`],
              ['Next run', <Moment key="next" at={schedule.next_run_at} />],
              ...(schedule.last_skip_reason === null ? [] : ([['Last skipped', schedule.last_skip_reason]] as const)),
            ] as const)),
      ]}
    />
  )
}
