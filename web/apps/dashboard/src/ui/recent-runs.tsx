import type { RunDocument } from '@runstate/client'
import type { ReactNode } from 'react'
import type { RecentRuns as List } from '../store/recent-runs.ts'
import { RecentRun } from './recent-run.tsx'

interface Props {
  readonly list: List
  /** The run that the page shows. */
  readonly shown: string | null
  readonly hrefOf: (run: RunDocument) => string
  readonly now: number | null
  readonly onRetry: () => void
}

export function RecentRuns({ list, shown, hrefOf, now, onRetry }: Props): ReactNode {
  return (
    <section aria-labelledby="recent">
      <h2 id="recent">Recent runs</h2>
      {list.state === 'failed' && (
        <p className="quiet">
          The list could not be loaded.{' '}
          <button type="button" className="textual" onClick={onRetry}>
            Try again
          </button>
        </p>
      )}
      {list.runs.length === 0 && list.state !== 'failed' && (
        <p className="quiet">{list.state === 'loading' ? 'Loading…' : 'None yet.'}</p>
      )}
      {list.runs.length > 0 && (
        <ol className="recent">
          {list.runs.map((run) => (
            <RecentRun key={run.run_id} run={run} href={hrefOf(run)} selected={run.run_id === shown} now={now} />
          ))}
        </ol>
      )}
    </section>
  )
}
