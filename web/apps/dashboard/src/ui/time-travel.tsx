import type { RunDocument } from '@runstate/client'
import type { ReactNode } from 'react'
import { clock, instant, shortPosition } from '../format.ts'
import { hrefTo } from '../store/route.ts'
import { type Shown, useChange } from './change.ts'
import { PatchRows } from './patch-rows.tsx'
import { useLookBack } from './stores.tsx'

interface Props {
  /** As the page shows it, of whatever version. */
  readonly run: RunDocument
  readonly runId: string
  /** The latest version that is known. */
  readonly head: number
  /** The version that the reader wants to see; null: the latest, as it comes. */
  readonly wanted: number | null
  /** The address of the run as it is. */
  readonly latest: string
  /** Where and as what the page shows the run; null where only a list gave it. */
  readonly entry: Shown | null
}

/** A slider over the versions of the run: the whole page shows the one that is chosen, and what it changed. */
export function TimeTravel({ run, runId, head, wanted, latest, entry }: Props): ReactNode {
  const change = useChange(run, wanted)
  const { trouble, floor } = useLookBack()
  const first = floor?.run === runId ? Math.min(head, floor.version) : 1
  const go = (version: number) => {
    // Not a step of the browser's history for each notch.
    window.location.replace(version >= head ? latest : hrefTo(run.pipeline, runId, version))
  }
  const known = entry ?? change?.entry ?? null
  const at = instant(run.updated_at)
  return (
    <section aria-labelledby="time-travel" className="time-travel">
      <h2 id="time-travel">Time travel</h2>
      <div className="slider">
        <span className="mono" title={first === 1 ? undefined : 'Older versions have been thinned out'}>
          v {first}
        </span>
        <input
          type="range"
          min={first}
          max={Math.max(first, head)}
          value={Math.min(head, wanted ?? head)}
          disabled={head <= first}
          aria-label="Version of the run"
          aria-valuetext={wanted === null ? `version ${head}, the latest` : `version ${wanted} of ${head}`}
          onChange={(event) => go(Number(event.target.value))}
        />
        <span className="mono slider-at">v {wanted ?? head}</span>
        {wanted === null ? (
          <span className="quiet slider-where">latest · drag to look back</span>
        ) : (
          <a className="slider-where" href={latest}>
            to the latest, v {head}
          </a>
        )}
      </div>
      {/* biome-ignore lint/a11y/useSemanticElements: a fieldset is for inputs */}
      <div
        className="patch mono"
        role="group"
        aria-label="What changed"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls is reachable by keyboard
        tabIndex={0}
      >
        {trouble !== null && wanted !== null ? (
          <p role="alert">{trouble}</p>
        ) : (
          <p className="patch-head">
            {at !== null && <time dateTime={run.updated_at ?? undefined}>{clock(at)}</time>}
            {known !== null && (
              <>
                <span title={known.position}>{shortPosition(known.position)}</span>
                <span title={known.digest}>{known.digest.slice(0, 16)}…</span>
                <span>{known.verified ? 'digest verified' : 'digest not verified'}</span>
              </>
            )}
            <a href={hrefTo(run.pipeline, runId, run.version)} title="An address that shows this version for ever">
              link to v {run.version}
            </a>
          </p>
        )}
        {change !== null && <PatchRows change={change} />}
      </div>
    </section>
  )
}
