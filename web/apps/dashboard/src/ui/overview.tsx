import type { PipelineDocument, RunDocument } from '@runstate/client'
import { useLink, usePipelineState, usePipelines } from '@runstate/react'
import type { ReactNode } from 'react'
import { took, whole } from '../format.ts'
import { elapsed } from '../model/elapsed.ts'
import { freshnessOf } from '../model/freshness.ts'
import { ledeFor } from '../model/lede.ts'
import { isActive, lookOf, stageLook, stateWords } from '../model/run.ts'
import { hrefTo } from '../store/route.ts'
import { Moment } from './moment.tsx'
import { PipelineControls } from './pipeline-controls.tsx'
import { PipelineFacts } from './pipeline-facts.tsx'
import { ProgressBar } from './progress-bar.tsx'
import { amountNote } from './stage-notes.ts'
import { StatePill } from './state-pill.tsx'
import { usePageTime } from './use-page-time.ts'
import { useTitle } from './use-title.ts'

/** Every pipeline at one glance: how it stands, whether it can be trusted, when it runs next. */
export function Overview(): ReactNode {
  const pipelines = usePipelines()
  useTitle('Overview', freshnessOf(useLink()))
  return (
    <>
      <h1 className="wide">Pipelines</h1>
      <ul className="overview">
        {pipelines.map((pipeline) => (
          <OverviewRow key={pipeline.pipeline} pipeline={pipeline} />
        ))}
      </ul>
    </>
  )
}

function OverviewRow({ pipeline }: { readonly pipeline: PipelineDocument }): ReactNode {
  const name = pipeline.pipeline
  const { link, ...run } = usePipelineState(name)
  const { now, freshness } = usePageTime(link, run.state === null ? null : run)
  return (
    <li data-pipeline={name}>
      <div className="overview-head">
        <a className="overview-name" href={hrefTo(name)}>
          {name}
        </a>
        {run.state !== null && <StatePill look={lookOf(run)} words={stateWords(run)} state={run.state} />}
      </div>
      {run.state !== null && (
        <>
          <PipelineControls pipeline={pipeline} run={run} current={freshness.current}>
            {ledeFor(run)}
          </PipelineControls>
          <Going run={run} now={now} />
        </>
      )}
      <PipelineFacts pipeline={pipeline} current={freshness.current} />
    </li>
  )
}

interface GoingProps {
  readonly run: RunDocument
  /** The moment that the page shows; null when it is not known. */
  readonly now: number | null
}

/** One line that is always there: how far the stage is that runs now, or when the last run was. */
function Going({ run, now }: GoingProps): ReactNode {
  const lasted = elapsed(run.started_at, run.ended_at, now)
  const stage = isActive(run) && run.current_stage !== null ? run.stages[run.current_stage] : undefined
  if (run.current_stage === null || stage === undefined) {
    return (
      <p className="going quiet">
        {run.started_at === null ? (
          ''
        ) : (
          <span>
            Started <Moment at={run.started_at} />
          </span>
        )}
        <span>{lasted === null ? '' : run.ended_at === null ? whole(lasted) : `took ${took(lasted)}`}</span>
      </p>
    )
  }
  return (
    <div className="going">
      <ProgressBar stage={run.current_stage} look={stageLook(stage)} progress={stage.progress} />
      <span className="going-amount">{amountNote(stage.progress)}</span>
      <span>{lasted === null ? '' : whole(lasted)}</span>
    </div>
  )
}
