import type { PipelineDocument, RunDocument } from '@runstate/client'
import type { ReactNode } from 'react'
import { lastTimes } from '../model/last-time.ts'
import { failedStage, ownError } from '../model/lede.ts'
import { hrefTo } from '../store/route.ts'
import type { Shown } from './change.ts'
import { ErrorText } from './error-text.tsx'
import { FailedLines } from './failed-lines.tsx'
import { LogPanel } from './log-panel.tsx'
import { Metadata } from './metadata.tsx'
import { Outputs, Report } from './outputs.tsx'
import { PipelineFacts } from './pipeline-facts.tsx'
import { RawState } from './raw-state.tsx'
import { RecentRuns } from './recent-runs.tsx'
import { RunFacts } from './run-facts.tsx'
import { RunTitle } from './run-title.tsx'
import { Stages } from './stages.tsx'
import { useRecentRuns, useStores } from './stores.tsx'
import { TimeTravel } from './time-travel.tsx'
import { Timeline } from './timeline.tsx'

/** Of the runs that the strip shows, so many are listed. */
const RECENT = 10

interface Props {
  readonly pipeline: PipelineDocument
  /** The run as the page shows it, of whatever version. */
  readonly run: RunDocument
  /** Where and as what the document is known; null for one that came with a list. */
  readonly entry: Shown | null
  /** The latest version that is known of the run. */
  readonly head: number
  /** The version that the reader looks back at; null: the latest. */
  readonly wanted: number | null
  /** The address of the run as it is. */
  readonly latest: string
  /** The moment that the page shows; null when it is not known. */
  readonly now: number | null
  /** Whether the page shows the present. */
  readonly current: boolean
  /** Buttons and the line below them. */
  readonly children: ReactNode
}

/** One run, whole, beside the runs before it: the layout of the page. */
export function RunView({ pipeline, run, entry, head, wanted, latest, now, current, children }: Props): ReactNode {
  const name = pipeline.pipeline
  const { recent } = useStores()
  const list = useRecentRuns(name)
  const error = ownError(run)
  const failed = run.state === 'failed' ? failedStage(run) : null
  return (
    <>
      <RunTitle run={run} now={now}>
        {children}
      </RunTitle>
      <div className="column">
        {error !== null && <ErrorText error={error} code={run.error_code} />}
        <Stages run={run} lastTimes={lastTimes(list.runs, run.run_id)} now={now} />
        {failed !== null && run.run_id !== null && (
          <FailedLines runId={run.run_id} stage={failed} attempt={run.stages[failed]?.attempt ?? 0} />
        )}
        {run.run_id !== null && (
          <>
            <Timeline run={run} now={now} />
            <TimeTravel run={run} runId={run.run_id} head={head} wanted={wanted} latest={latest} entry={entry} />
            <LogPanel
              key={run.run_id}
              runId={run.run_id}
              stages={run.stage_order}
              until={wanted === null ? null : run.updated_at}
              current={current}
            />
            <Report run={run} />
          </>
        )}
        <RecentRuns
          list={{ ...list, runs: list.runs.slice(0, RECENT) }}
          shown={run.run_id}
          now={now}
          hrefOf={({ run_id: id }) => (id === null || id === pipeline.current_run_id ? hrefTo(name) : hrefTo(name, id))}
          onRetry={() => recent.retry(name)}
        />
        <RawState run={run} digest={entry?.digest ?? null} />
      </div>
      <div className="column">
        <RunFacts run={run} position={entry?.position ?? null} now={now} />
        <PipelineFacts pipeline={pipeline} current={current} />
        <Metadata metadata={run.metadata} />
        <Outputs run={run} />
      </div>
    </>
  )
}
