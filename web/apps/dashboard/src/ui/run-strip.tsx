import type { ReactNode } from 'react'
import { dayClock, instant, took } from '../format.ts'
import { elapsed } from '../model/elapsed.ts'
import { lookOf, stateWords } from '../model/run.ts'
import { hrefTo } from '../store/route.ts'
import { useRecentRuns, useToday } from './stores.tsx'

const PLACES = 30

/** The last 30 runs, oldest first: a shape and a colour each. Places that no run has taken yet are there too. */
export function RunStrip({ pipeline }: { readonly pipeline: string }): ReactNode {
  const { runs } = useRecentRuns(pipeline)
  const today = useToday()
  const shown = runs.slice(0, PLACES).toReversed()
  return (
    <ol className="strip" aria-label={`The last ${shown.length} runs of ${pipeline}, oldest first`}>
      {Array.from({ length: PLACES - shown.length }, (_, place) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: places have no other name
        <li key={place} className="strip-place" aria-hidden="true" />
      ))}
      {shown.map((run) => {
        const at = instant(run.started_at)
        const lasted = elapsed(run.started_at, run.ended_at, null)
        const words = [stateWords(run), at === null ? '' : dayClock(at, today), lasted === null ? '' : took(lasted)]
        const label = words.filter(Boolean).join(', ')
        return (
          <li key={run.run_id}>
            <a
              href={hrefTo(pipeline, run.run_id ?? '')}
              data-look={lookOf(run)}
              data-run={run.run_id}
              title={label}
              aria-label={label}
            >
              <span />
            </a>
          </li>
        )
      })}
    </ol>
  )
}
