import type { PipelineDocument, RunDocument } from '@runstate/client'
import type { ReactNode } from 'react'
import { lastTimes } from '../model/last-time.ts'
import { ownError } from '../model/lede.ts'
import { hrefTo } from '../store/route.ts'
import { ErrorText } from './error-text.tsx'
import { Metadata } from './metadata.tsx'
import { PipelineFacts } from './pipeline-facts.tsx'
import { RawState } from './raw-state.tsx'
import { RecentRuns } from './recent-runs.tsx'
import { RunFacts } from './run-facts.tsx'
import { RunTitle } from './run-title.tsx'
import { Stages } from './stages.tsx'
import { useRecentRuns, useStores } from './stores.tsx'

interface Props {
  readonly pipeline: PipelineDocument
  readonly run: RunDocument
  /** Where and as what the stream shows the document; null for one that came with a list. */
  readonly entry: { readonly position: string; readonly digest: string } | null
  /** The moment that the page shows; null when it is not known. */
  readonly now: number | null
  readonly controls: ReactNode
  readonly lede: ReactNode
}

/** One run, whole, beside the runs before it: the layout of the page. */
export function RunView({ pipeline, run, entry, now, controls, lede }: Props): ReactNode {
  const name = pipeline.pipeline
  const { recent } = useStores()
  const list = useRecentRuns(name)
  const error = ownError(run)
  return (
    <>
      <RunTitle run={run} now={now}>
        {controls}
      </RunTitle>
      {lede}
      <div className="column">
        {error !== null && <ErrorText error={error} code={run.error_code} />}
        <Stages run={run} lastTimes={lastTimes(list.runs, run.run_id)} now={now} />
        <RecentRuns
          list={list}
          shown={run.run_id}
          now={now}
          hrefOf={({ run_id: id }) => (id === null || id === pipeline.current_run_id ? hrefTo(name) : hrefTo(name, id))}
          onRetry={() => recent.retry(name)}
        />
        <RawState run={run} digest={entry?.digest ?? null} />
      </div>
      <div className="column">
        <RunFacts run={run} position={entry?.position ?? null} now={now} />
        <Metadata metadata={run.metadata} />
        <PipelineFacts pipeline={pipeline} />
      </div>
    </>
  )
}
