import type { Entry, PipelineDocument } from '@runstate/client'
import { useView } from '@runstate/react'
import { type ReactNode, useState } from 'react'
import { Dialog } from './dialog.tsx'
import { Moment } from './moment.tsx'
import { RunStrip } from './run-strip.tsx'
import { useCommand, useStores } from './stores.tsx'

interface Props {
  readonly pipeline: PipelineDocument
  /** Whether the page shows the present; without that a button would act on a guess. */
  readonly current: boolean
}

/** How a pipeline stands apart from any one run: its health and why, and when it runs by itself or why it did not. */
export function PipelineFacts({ pipeline, current }: Props): ReactNode {
  const name = pipeline.pipeline
  const { commands } = useStores()
  const command = useCommand(name)
  const entry: Entry<PipelineDocument> | undefined = useView((view) => view.pipelines[name])
  const [asking, setAsking] = useState(false)
  const [reason, setReason] = useState('')
  const busy = command !== undefined && command.kind !== 'refused' ? command.verb : null
  const { health, schedule } = pipeline
  const dead = !current || busy !== null || entry === undefined
  return (
    <section aria-label={`Pipeline ${name}`} className="pipeline-facts">
      <h2>{name}</h2>
      <dl>
        <div>
          <dt>Health</dt>
          <dd data-health={health.state}>{health.state}</dd>
        </div>
        {health.reasons.length > 0 && (
          <div>
            <dt>Because</dt>
            <dd className="wrapped">{health.reasons.join('; ')}</dd>
          </div>
        )}
        <div>
          <dt>Schedule</dt>
          <dd>{schedule === null ? 'none' : `${schedule.cron} ${schedule.tz}${schedule.enabled ? '' : ', off'}`}</dd>
        </div>
        <div>
          <dt>Next run</dt>
          <dd>{schedule === null ? 'when somebody starts it' : <Moment at={schedule.next_run_at} isNext />}</dd>
        </div>
        {schedule !== null && schedule.queued_at !== null && (
          <div>
            <dt>Queued since</dt>
            <dd>
              <Moment at={schedule.queued_at} />
            </dd>
          </div>
        )}
        {schedule !== null && schedule.last_skip_reason !== null && (
          <div>
            <dt>Last skipped</dt>
            <dd className="wrapped">{schedule.last_skip_reason}</dd>
          </div>
        )}
      </dl>
      <h3>Last runs</h3>
      <RunStrip pipeline={name} />
      {(schedule !== null || health.state !== 'healthy') && (
        <div className="card-buttons">
          {schedule !== null && (
            <button
              type="button"
              disabled={dead}
              aria-busy={busy === 'schedule'}
              onClick={() => entry && commands.enable(name, !schedule.enabled, entry)}
            >
              {schedule.enabled ? 'Turn the schedule off' : 'Turn the schedule on'}
            </button>
          )}
          {health.state !== 'healthy' && (
            <button type="button" disabled={dead} aria-busy={busy === 'acknowledge'} onClick={() => setAsking(true)}>
              Acknowledge…
            </button>
          )}
        </div>
      )}
      {asking && entry !== undefined && health.state !== 'healthy' && (
        <Dialog
          title={`Acknowledge that ${name} is ${health.state}`}
          words="This says that somebody has seen to it. It is kept with your name and reason, and runs may start again."
          onCancel={() => setAsking(false)}
          go="Acknowledge"
          onGo={() => {
            setAsking(false)
            commands.acknowledge(name, reason.trim(), entry)
          }}
        >
          <label className="field">
            Reason
            <input required pattern=".*\S.*" value={reason} onChange={(event) => setReason(event.target.value)} />
          </label>
        </Dialog>
      )}
    </section>
  )
}
