import type { RunDocument } from '@runstate/client'
import type { ReactNode } from 'react'
import { shortId, took, whole } from '../format.ts'
import { elapsed } from '../model/elapsed.ts'
import { lookOf, stateWords } from '../model/run.ts'
import { Moment } from './moment.tsx'
import { StateMark } from './state-mark.tsx'

interface Props {
  readonly run: RunDocument
  readonly href: string
  readonly selected: boolean
  readonly now: number | null
}

export function RecentRun({ run, href, selected, now }: Props): ReactNode {
  const lasted = elapsed(run.started_at, run.ended_at, now)
  const look = lookOf(run)
  return (
    <li>
      <a href={href} aria-current={selected ? 'true' : undefined} title={run.error ?? undefined} data-run={run.run_id}>
        <StateMark look={look} />
        <span className="recent-state" data-look={look}>
          {stateWords(run)}
        </span>
        <span className="mono recent-id">{shortId(run.run_id ?? '–')}</span>
        <span className="recent-code">{run.status === 'error' ? run.error_code : run.trigger?.kind}</span>
        <span className="recent-started">
          <Moment at={run.started_at} />
        </span>
        <span className="recent-lasted">
          {lasted === null ? '–' : run.ended_at === null ? whole(lasted) : took(lasted)}
        </span>
      </a>
    </li>
  )
}
