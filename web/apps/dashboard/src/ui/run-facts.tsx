import type { RunDocument } from '@runstate/client'
import type { ReactNode } from 'react'
import { ago, count, instant, shortPosition } from '../format.ts'
import { isActive } from '../model/run.ts'
import { Facts } from './facts.tsx'
import { Moment } from './moment.tsx'

interface Props {
  readonly run: RunDocument
  /** Of the document; null for one that came with a list. */
  readonly position: string | null
  /** The moment that the page shows; null when it is not known. */
  readonly now: number | null
}

export function RunFacts({ run, position, now }: Props): ReactNode {
  const stop = run.stop_requested
  return (
    <Facts
      title="This run"
      facts={[
        [
          'Run',
          <span className="mono" key="id">
            {run.run_id ?? '–'}
          </span>,
          run.run_id ?? undefined,
        ],
        ['Trigger', run.trigger === null ? '–' : triggerWords(run.trigger)],
        ['Started', <Moment key="started" at={run.started_at} />],
        ['Ended', <Moment key="ended" at={run.ended_at} />],
        ['Heard from worker', heard(run, now)],
        ['Retries', count(run.retry_count)],
        ['Version', count(run.version)],
        [
          'Position',
          position === null ? (
            '–'
          ) : (
            <span className="mono" key="position">
              {shortPosition(position)}
            </span>
          ),
          position ?? undefined,
        ],
        ...(stop === null ? [] : ([['Stop asked', stopWords(stop)]] as const)),
      ]}
    />
  )
}

function triggerWords({ kind, by }: NonNullable<RunDocument['trigger']>): string {
  return by === null ? kind : `${kind}, by ${by}`
}

function stopWords({ by, reason }: NonNullable<RunDocument['stop_requested']>): string {
  return [by === null ? 'yes' : `by ${by}`, reason].filter(Boolean).join(': ')
}

/** When the stage that runs now was last heard of: a silent worker is seen before its lease ends. */
function heard(run: RunDocument, now: number | null): string {
  const stage = run.current_stage === null ? undefined : run.stages[run.current_stage]
  const at = instant(stage?.heartbeat_at ?? null)
  // Between two attempts there is no worker that could be silent.
  if (!isActive(run) || stage?.state !== 'running' || at === null || now === null) return '–'
  return ago(Math.max(0, now - at))
}
