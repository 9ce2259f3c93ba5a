import type { PipelineDocument } from '@runstate/client'
import { useLink, useView } from '@runstate/react'
import type { ReactNode } from 'react'
import { ledeFor } from '../model/lede.ts'
import { isNewer } from '../model/recent.ts'
import { stateWords } from '../model/run.ts'
import { hrefTo } from '../store/route.ts'
import { NoSuchRun, Waiting } from './empty.tsx'
import { Lede } from './lede.tsx'
import { RunView } from './run-view.tsx'
import { useRecentRuns } from './stores.tsx'
import { usePageTime } from './use-page-time.ts'
import { useTitle } from './use-title.ts'

interface Props {
  readonly pipeline: PipelineDocument
  readonly id: string
}

/** One run that the reader picked, as it was recorded: read-only. */
export function PastRun({ pipeline, id }: Props): ReactNode {
  const name = pipeline.pipeline
  const list = useRecentRuns(name)
  const listed = list.runs.find((run) => run.run_id === id)
  const entry = useView((view) => view.runs[id])
  const streams = entry !== undefined && (listed === undefined || !isNewer(listed, entry.document))
  const run = streams ? entry.document : listed
  const { now, freshness } = usePageTime(useLink(), run ?? null)
  useTitle(run === undefined ? name : `${stateWords(run)} · ${name}`, freshness)
  if (run === undefined) return list.state === 'loading' ? <Waiting /> : <NoSuchRun id={id} back={hrefTo(name)} />
  return (
    <RunView
      pipeline={pipeline}
      run={run}
      entry={streams ? entry : null}
      now={now}
      controls={
        <a className="back" href={hrefTo(name)}>
          Back to the current run
        </a>
      }
      lede={
        <Lede refusal={null} onDismiss={() => {}}>
          {id === pipeline.current_run_id ? 'The current run' : 'An earlier run'}, read-only. {ledeFor(run)}
        </Lede>
      }
    />
  )
}
