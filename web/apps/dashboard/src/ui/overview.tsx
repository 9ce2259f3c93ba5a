import type { PipelineDocument } from '@runstate/client'
import { useLink, usePipelineState, usePipelines } from '@runstate/react'
import type { ReactNode } from 'react'
import { freshnessOf } from '../model/freshness.ts'
import { ledeFor } from '../model/lede.ts'
import { lookOf, stateWords } from '../model/run.ts'
import { hrefTo } from '../store/route.ts'
import { PipelineControls } from './pipeline-controls.tsx'
import { PipelineFacts } from './pipeline-facts.tsx'
import { StatePill } from './state-pill.tsx'
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
  const freshness = freshnessOf(link)
  return (
    <li data-pipeline={name}>
      <div className="overview-head">
        <a className="overview-name" href={hrefTo(name)}>
          {name}
        </a>
        {run.state !== null && <StatePill look={lookOf(run)} words={stateWords(run)} state={run.state} />}
      </div>
      {run.state !== null && (
        <PipelineControls pipeline={pipeline} run={run} current={freshness.current}>
          {ledeFor(run)}
        </PipelineControls>
      )}
      <PipelineFacts pipeline={pipeline} current={freshness.current} />
    </li>
  )
}
