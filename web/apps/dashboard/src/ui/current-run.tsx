import type { PipelineDocument } from '@runstate/client'
import { usePipelineState, useView } from '@runstate/react'
import type { ReactNode } from 'react'
import { ledeFor } from '../model/lede.ts'
import { stateWords } from '../model/run.ts'
import { Waiting } from './empty.tsx'
import { PipelineControls } from './pipeline-controls.tsx'
import { RunView } from './run-view.tsx'
import { usePageTime } from './use-page-time.ts'
import { useTitle } from './use-title.ts'

/** A pipeline's current run, whichever that is, with the buttons that act on it. */
export function CurrentRun({ pipeline }: { readonly pipeline: PipelineDocument }): ReactNode {
  const name = pipeline.pipeline
  const { link, ...run } = usePipelineState(name)
  const entry = useView((view) => (run.run_id === null ? undefined : view.runs[run.run_id])) ?? null
  const { now, freshness } = usePageTime(link, run.state === null ? null : run)
  useTitle(run.state === null ? name : `${stateWords(run)} · ${name}`, freshness)
  if (run.state === null) return <Waiting />
  return (
    <RunView
      pipeline={pipeline}
      run={run}
      entry={entry}
      head={run.version}
      wanted={null}
      now={now}
      current={freshness.current}
    >
      <PipelineControls pipeline={pipeline} run={run} current={freshness.current}>
        {ledeFor(run)}
      </PipelineControls>
    </RunView>
  )
}
