import type { Entry, PipelineDocument, RunDocument } from '@runstate/client'
import { useLink, useView } from '@runstate/react'
import type { ReactNode } from 'react'
import { instant } from '../format.ts'
import { ledeFor } from '../model/lede.ts'
import { isNewer } from '../model/recent.ts'
import { stateWords } from '../model/run.ts'
import { hrefTo } from '../store/route.ts'
import { NoSuchRun, Waiting } from './empty.tsx'
import { Lede } from './lede.tsx'
import { RunView } from './run-view.tsx'
import { useLookup, useRecentRuns, useVersion } from './stores.tsx'
import { usePageTime } from './use-page-time.ts'
import { useTitle } from './use-title.ts'

interface Props {
  readonly pipeline: PipelineDocument
  readonly id: string
  /** As it was then; null: as it is. */
  readonly version: number | null
}

/** One run that the reader picked, as it is or as it was: read-only. */
export function PastRun({ pipeline, id, version }: Props): ReactNode {
  const name = pipeline.pipeline
  const listed = useRecentRuns(name).runs.find((run) => run.run_id === id)
  const looked = useLookup(id)
  const streamed = useView((view) => view.runs[id])
  const back = useVersion(id, version)
  const latest = latestOf(streamed, typeof looked === 'object' ? looked : undefined, listed)
  const found = version !== null && back.found?.run === id && back.trouble === null ? back.found : null
  const run = found?.entry.document ?? latest?.document
  const { now, freshness } = usePageTime(useLink(), version === null ? (run ?? null) : null)
  useTitle(run === undefined ? name : `${stateWords(run)} · ${name}`, freshness)
  if (run === undefined || latest === null) {
    return looked === 'missing' || looked === 'failed' ? <NoSuchRun id={id} back={hrefTo(name)} /> : <Waiting />
  }
  const which = id === pipeline.current_run_id ? 'The current run' : 'An earlier run'
  return (
    <RunView
      pipeline={pipeline}
      run={run}
      entry={found?.entry ?? latest.entry}
      head={latest.document.version}
      wanted={version}
      now={found === null ? now : instant(run.updated_at)}
      current={freshness.current}
    >
      <div className="controls">
        <a className="back" href={hrefTo(name)}>
          Back to the current run
        </a>
      </div>
      <Lede refusal={null} onDismiss={() => {}}>
        {version === null
          ? `${which}, read-only.`
          : `As it was at version ${found?.version ?? version} of ${latest.document.version}${back.asking ? ', loading…' : ''}.`}{' '}
        {ledeFor(run)}
      </Lede>
    </RunView>
  )
}

interface Latest {
  readonly document: RunDocument
  /** null: it came with a list, which does not say where it stands. */
  readonly entry: Entry<RunDocument> | null
}

/** Return the newest that is known of a run; what the stream shows wins among equals. */
function latestOf(
  streamed: Entry<RunDocument> | undefined,
  looked: Entry<RunDocument> | undefined,
  listed: RunDocument | undefined,
): Latest | null {
  const known: readonly Latest[] = [
    ...[streamed, looked].flatMap((entry) => (entry === undefined ? [] : [{ document: entry.document, entry }])),
    ...(listed === undefined ? [] : [{ document: listed, entry: null }]),
  ]
  return known.reduce<Latest | null>(
    (best, one) => (best === null || isNewer(one.document, best.document) ? one : best),
    null,
  )
}
