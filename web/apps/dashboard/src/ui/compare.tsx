import type { RunDocument } from '@runstate/client'
import { useLink, useView } from '@runstate/react'
import type { CSSProperties, ReactNode } from 'react'
import { shortId, took } from '../format.ts'
import { elapsed } from '../model/elapsed.ts'
import { freshnessOf } from '../model/freshness.ts'
import { newest } from '../model/recent.ts'
import { lookOf, stageLook, stateWords } from '../model/run.ts'
import { hrefTo, hrefToRuns } from '../store/route.ts'
import { Moment } from './moment.tsx'
import { StatePill } from './state-pill.tsx'
import { useLookup } from './stores.tsx'
import { useTitle } from './use-title.ts'

/** Two runs beside each other: how long each stage took in either, and which was slower. */
export function Compare({ runs: [a, b] }: { readonly runs: readonly [string, string] }): ReactNode {
  const one = useShown(a)
  const other = useShown(b)
  useTitle('Compare runs', freshnessOf(useLink()))
  if (one === null || other === null) {
    return (
      <div className="empty">
        <h1>These runs are not here</h1>
        <p>
          One of the two is unknown to the server. <a href={hrefToRuns()}>Choose two others</a>.
        </p>
      </div>
    )
  }
  if (one === undefined || other === undefined) return <p className="wide quiet">Loading…</p>
  const stages = [...new Set([...one.stage_order, ...other.stage_order])]
  const times = stages.map((name) => [name, lastedIn(one, name), lastedIn(other, name)] as const)
  const longest = Math.max(1, ...times.flatMap(([, x, y]) => [x ?? 0, y ?? 0]))
  return (
    <>
      <h1 className="wide">Two runs compared</h1>
      <section className="wide compare" aria-label="Stage timings">
        <table>
          <thead>
            <tr>
              <th scope="col">Stage</th>
              <RunHead run={one} />
              <RunHead run={other} />
              <th scope="col">Change</th>
            </tr>
          </thead>
          <tbody>
            {times.map(([name, x, y]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <Cell run={one} stage={name} lasted={x} longest={longest} />
                <Cell run={other} stage={name} lasted={y} longest={longest} />
                <td>{difference(x, y)}</td>
              </tr>
            ))}
            <tr>
              <th scope="row">whole run</th>
              <td>{words(elapsed(one.started_at, one.ended_at, null))}</td>
              <td>{words(elapsed(other.started_at, other.ended_at, null))}</td>
              <td>
                {difference(
                  elapsed(one.started_at, one.ended_at, null),
                  elapsed(other.started_at, other.ended_at, null),
                )}
              </td>
            </tr>
          </tbody>
        </table>
      </section>
    </>
  )
}

/** Return the run as far as it is known; undefined: not yet, null: there is none. */
function useShown(id: string): RunDocument | null | undefined {
  const looked = useLookup(id)
  const streamed = useView((view) => view.runs[id]?.document)
  if (id === '' || looked === 'missing') return null
  if (typeof looked === 'object') return newest(looked.document, streamed)
  return streamed ?? (looked === 'failed' ? null : undefined)
}

function RunHead({ run }: { readonly run: RunDocument }): ReactNode {
  return (
    <th scope="col">
      <a href={hrefTo(run.pipeline, run.run_id ?? '')}>
        {run.pipeline} <span className="mono">{shortId(run.run_id ?? '')}</span>
      </a>{' '}
      <StatePill look={lookOf(run)} words={stateWords(run)} state={run.state} />
      <span className="quiet">
        <Moment at={run.started_at} />
      </span>
    </th>
  )
}

interface CellProps {
  readonly run: RunDocument
  readonly stage: string
  readonly lasted: number | null
  readonly longest: number
}

function Cell({ run, stage, lasted, longest }: CellProps): ReactNode {
  const record = run.stages[stage]
  if (record === undefined) return <td className="quiet">not in this run</td>
  const style = { '--share': (lasted ?? 0) / longest } as CSSProperties
  return (
    <td>
      {lasted !== null && <span className="compare-bar" data-look={stageLook(record)} style={style} />}
      {words(lasted)}
      <span className="quiet"> {record.state === 'success' ? '' : record.state}</span>
    </td>
  )
}

function lastedIn(run: RunDocument, stage: string): number | null {
  const record = run.stages[stage]
  return record === undefined ? null : elapsed(record.started_at, record.ended_at, null)
}

function words(ms: number | null): string {
  return ms === null ? '–' : took(ms)
}

/** `+ 12.0 s (× 1.4)`: the second against the first. */
function difference(x: number | null, y: number | null): string {
  if (x === null || y === null) return '–'
  const sign = y >= x ? '+' : '−'
  return `${sign} ${took(Math.abs(y - x))}${x > 0 ? ` (× ${(y / x).toFixed(1)})` : ''}`
}
