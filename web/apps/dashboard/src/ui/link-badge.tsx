import type { Entry, PipelineDocument, RunDocument } from '@runstate/client'
import type { ReactNode } from 'react'
import { ago, clock } from '../format.ts'
import type { Freshness } from '../model/freshness.ts'

interface Props {
  readonly freshness: Freshness
  readonly now: number
  /** What the page shows, if it is a document that the stream gave. */
  readonly shown: Entry<RunDocument> | Entry<PipelineDocument> | null
  readonly transport: string | null
}

/** How far the page can be believed: the link, since when it is silent, and which version is shown. */
export function LinkBadge({ freshness, now, shown, transport }: Props): ReactNode {
  const { word, tone, asOf } = freshness
  return (
    <div className="badge" data-tone={tone} title={transport === null ? undefined : `over ${transport}`}>
      <span className="dot" aria-hidden="true" />
      <span className="badge-word" role="status">
        {word}
      </span>
      {asOf !== null && (
        <span className="badge-age">
          as of {clock(asOf)}, {ago(now - asOf)}
        </span>
      )}
      {shown !== null && (
        <span className="badge-version" title={shown.digest}>
          {'run_id' in shown.document ? '' : 'pipeline '}v {shown.version} ·{' '}
          {shown.verified ? 'digest verified' : 'digest not verified'}
        </span>
      )}
    </div>
  )
}
