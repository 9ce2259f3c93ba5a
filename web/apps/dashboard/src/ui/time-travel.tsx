import type { ReactNode } from 'react'
import { clock, instant, shortPosition } from '../format.ts'
import { brief, patchRows } from '../model/diff.ts'
import { hrefTo } from '../store/route.ts'
import type { LookBack } from '../store/versions.ts'

interface Props {
  readonly pipeline: string
  readonly runId: string
  /** The latest version that is known. */
  readonly head: number
  /** The version that the reader wants to see; null: the latest, as it comes. */
  readonly wanted: number | null
  readonly back: LookBack
  /** Where and as what the page shows the run; null where only a list gave it. */
  readonly entry: { readonly position: string; readonly digest: string; readonly verified: boolean } | null
}

/** A slider over the versions of the run: the whole page shows the one that is chosen. */
export function TimeTravel({ pipeline, runId, head, wanted, back, entry }: Props): ReactNode {
  const found = wanted === null ? null : back.found
  const go = (version: number) => {
    // Not a step of the browser's history for each notch.
    window.location.replace(version >= head ? hrefTo(pipeline, runId) : hrefTo(pipeline, runId, version))
  }
  const at = instant(found?.commit?.at ?? null)
  return (
    <section aria-labelledby="time-travel" className="time-travel">
      <h2 id="time-travel">Time travel</h2>
      <div className="slider">
        <span className="mono">v 1</span>
        <input
          type="range"
          min={1}
          max={Math.max(1, head)}
          value={Math.min(head, wanted ?? head)}
          disabled={head < 2}
          aria-label="Version of the run"
          aria-valuetext={wanted === null ? `version ${head}, the latest` : `version ${wanted} of ${head}`}
          onChange={(event) => go(Number(event.target.value))}
        />
        <span className="mono slider-at">v {wanted ?? head}</span>
        {wanted === null ? (
          <span className="quiet">latest · drag to look back</span>
        ) : (
          <a href={hrefTo(pipeline, runId)}>to the latest, v {head}</a>
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
        {back.trouble !== null && wanted !== null ? (
          <p role="alert">{back.trouble}</p>
        ) : (
          entry !== null && (
            <p className="patch-head">
              {at !== null && <span>{clock(at)}</span>}
              <span title={entry.position}>{shortPosition(entry.position)}</span>
              <span title={entry.digest}>{entry.digest.slice(0, 20)}…</span>
              <span>{entry.verified ? 'digest verified' : 'digest not verified'}</span>
            </p>
          )
        )}
        {found !== null && (
          <>
            {found.commit?.patch === null && <p>The first version of the run.</p>}
            {found.commit === null && <p>The server has no commit for this version any more.</p>}
            <ul aria-label={`What changed from version ${found.version - 1} to ${found.version}`}>
              {patchRows(found.before, found.commit?.patch ?? []).map(({ path, before, after }) => (
                <li key={path}>
                  <span className="patch-path">{path}</span>
                  <span>
                    {before !== undefined && <del>{brief(before)}</del>}
                    {before !== undefined && after !== undefined && ' → '}
                    {after !== undefined && <ins>{brief(after)}</ins>}
                  </span>
                </li>
              ))}
            </ul>
          </>
        )}
      </div>
    </section>
  )
}
