import type { RunDocument } from '@runstate/client'
import { useHistory } from '@runstate/react'
import type { CSSProperties, ReactNode } from 'react'
import { clock, instant, took, whole } from '../format.ts'
import { type Attempt, attemptsOf, latestAttempts } from '../model/attempts.ts'

interface Props {
  readonly run: RunDocument
  /** The moment that the page shows; null when it is not known. */
  readonly now: number | null
}

/** When each stage ran, on one axis; every attempt of a run with retries, as its history has them. */
export function Timeline({ run, now }: Props): ReactNode {
  const history = useHistory(run.retry_count > 0 ? run.run_id : null, { limit: 1_000 })
  const until = history.commits.filter(({ version }) => version <= run.version)
  const told = run.retry_count > 0 && history.floor === 1 && until[0]?.version === 1 ? attemptsOf(until) : null
  const attempts = told ?? latestAttempts(run)
  const from = instant(run.started_at) ?? attempts[0]?.from ?? null
  const to = instant(run.ended_at) ?? now
  const length = from === null || to === null ? 0 : Math.max(1, to - from)
  const nth = new Map<string, number>()
  return (
    <section aria-labelledby="timeline" className="timeline">
      <h2 id="timeline">Timeline</h2>
      <ol>
        {run.stage_order.map((stage) => (
          <li key={stage} data-stage={stage}>
            <span className="timeline-name" title={stage}>
              {stage}
            </span>
            <span className="timeline-track">
              {attempts
                .filter((attempt) => attempt.stage === stage)
                .map((attempt) => (
                  <Bar key={attempt.from} attempt={attempt} from={from ?? attempt.from} length={length} now={to} />
                ))}
            </span>
          </li>
        ))}
      </ol>
      <p className="timeline-axis">
        <span>{from === null ? '–' : clock(from)}</span>
        <span>{from === null || to === null ? '' : run.ended_at === null ? whole(to - from) : took(to - from)}</span>
        <span>{to === null || from === null ? '' : clock(to)}</span>
      </p>
      {told !== null && (
        <ol className="attempts" aria-label="Attempts">
          {told.map((attempt) => {
            const count = (nth.get(attempt.stage) ?? 0) + 1
            nth.set(attempt.stage, count)
            return (
              <li key={attempt.from} className="attempt" data-look={attempt.outcome}>
                <span>
                  {attempt.stage}, attempt {count}
                </span>
                <span className="attempt-outcome">
                  {attempt.outcome === 'retrying' ? 'failed, tried again' : attempt.outcome}
                  {attempt.code !== null && <code> {attempt.code}</code>}
                </span>
                <span>
                  {clock(attempt.from)}
                  {attempt.to !== null && `, ${took(attempt.to - attempt.from)}`}
                </span>
              </li>
            )
          })}
        </ol>
      )}
    </section>
  )
}

interface BarProps {
  readonly attempt: Attempt
  readonly from: number
  readonly length: number
  readonly now: number | null
}

function Bar({ attempt, from, length, now }: BarProps): ReactNode {
  const end = attempt.to ?? now
  if (end === null || length <= 0) return null
  const share = (ms: number) => Math.min(1, Math.max(0, ms / length))
  const start = share(attempt.from - from)
  const style = { '--from': start, '--share': share(end - from) - start } as CSSProperties
  return (
    <span
      className="timeline-bar"
      data-look={attempt.outcome === 'retrying' ? 'failed' : attempt.outcome}
      style={style}
      title={`${attempt.outcome}, ${took(Math.max(0, end - attempt.from))}`}
    />
  )
}
