import type { Entry, PipelineDocument, RunDocument } from '@runstate/client'
import { usePipelineState, useView } from '@runstate/react'
import type { ReactNode } from 'react'
import { instant } from '../format.ts'
import { ledeFor } from '../model/lede.ts'
import { isNewer } from '../model/recent.ts'
import { stateWords } from '../model/run.ts'
import { hrefTo } from '../store/route.ts'
import { NoSuchRun, Waiting } from './empty.tsx'
import { Lede } from './lede.tsx'
import { PipelineControls } from './pipeline-controls.tsx'
import { RunView } from './run-view.tsx'
import { useLookup, useRecentRuns, useVersion } from './stores.tsx'
import { usePageTime } from './use-page-time.ts'
import { useTitle } from './use-title.ts'

interface Props {
  readonly pipeline: PipelineDocument
  /** The run that the reader picked; null: the current one, whichever that is, with the buttons that act on it. */
  readonly id: string | null
  /** As it was then; null: as it is. */
  readonly version: number | null
}

/**
 * A pipeline's current run, or any run, as it is or as it was.
 *
 * One component for all of them, so that a slider that leaves the present is still the same slider under the finger.
 */
export function RunPage({ pipeline, id, version }: Props): ReactNode {
  const name = pipeline.pipeline
  const { link, ...current } = usePipelineState(name)
  const listed = useRecentRuns(name).runs.find((run) => run.run_id === id)
  const looked = useLookup(id ?? '')
  const streamed = useView((view) => view.runs[id ?? pipeline.current_run_id ?? ''])
  const back = useVersion(id, version)
  const latest =
    id === null
      ? current.state === null
        ? null
        : { document: current, entry: streamed ?? null }
      : latestOf(streamed, typeof looked === 'object' ? looked : undefined, listed)
  const found = version !== null && back.found?.run === id && back.trouble === null ? back.found : null
  const run = found?.entry.document ?? latest?.document
  const { now, freshness } = usePageTime(link, version === null ? (run ?? null) : null)
  useTitle(run === undefined ? name : `${stateWords(run)} · ${name}`, freshness)
  if (run === undefined || latest === null) {
    const isNowhere = id !== null && (looked === 'missing' || looked === 'failed')
    return isNowhere ? <NoSuchRun id={id} back={hrefTo(name)} /> : <Waiting />
  }
  const isCurrent = id === null || id === pipeline.current_run_id
  const head = latest.document.version
  return (
    <RunView
      pipeline={pipeline}
      run={run}
      entry={found?.entry ?? latest.entry}
      head={head}
      wanted={version}
      latest={isCurrent ? hrefTo(name) : hrefTo(name, id)}
      now={found === null ? now : instant(run.updated_at)}
      current={freshness.current}
    >
      {id === null ? (
        <PipelineControls pipeline={pipeline} run={run} current={freshness.current}>
          {ledeFor(run)}
        </PipelineControls>
      ) : (
        <>
          <div className="controls">
            <a className="back" href={hrefTo(name)}>
              Back to the current run
            </a>
          </div>
          <Lede refusal={null} onDismiss={() => {}}>
            {version === null
              ? `${isCurrent ? 'The current run' : 'An earlier run'}, read-only.`
              : whichVersion(run.version, version, head, back.trouble)}{' '}
            {ledeFor(run)}
          </Lede>
        </>
      )}
    </RunView>
  )
}

/** Which version the page shows: the one that was asked for only once it is there. */
function whichVersion(shown: number, wanted: number, head: number, trouble: string | null): string {
  if (shown === wanted) return `As it was at version ${shown} of ${head}.`
  return `This is version ${shown} of ${head}; ${trouble === null ? `version ${wanted} is loading` : `version ${wanted} cannot be shown`}.`
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
