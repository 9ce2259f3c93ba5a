import { useLink, usePipelines } from '@runstate/react'
import { type ReactNode, useEffect, useState } from 'react'
import { instant, shortId, took, whole } from '../format.ts'
import { elapsed } from '../model/elapsed.ts'
import { freshnessOf } from '../model/freshness.ts'
import { lookOf, stateWords } from '../model/run.ts'
import { type Filters, hrefTo, hrefToCompare, hrefToRuns } from '../store/route.ts'
import { Moment } from './moment.tsx'
import { StateMark } from './state-mark.tsx'
import { useNow, useReadable, useStores } from './stores.tsx'
import { useTitle } from './use-title.ts'

const STATUSES = [
  ['', 'any status'],
  ['running', 'running'],
  ['idle', 'success'],
  ['error', 'failed'],
  ['stopped', 'stopped'],
] as const
const TIMES = [
  ['', 'any time'],
  ['1', 'last hour'],
  ['24', 'last day'],
  ['168', 'last week'],
] as const
const HOUR_MS = 3_600_000

/** Every run that the server has, narrowed by the address; two of them can be compared. */
export function RunsPage({ filters }: { readonly filters: Filters }): ReactNode {
  const { list } = useStores()
  const { pipeline, status, hours } = filters
  useEffect(() => list.ask({ pipeline, status }), [list, pipeline, status])
  const { runs, state, more } = useReadable(list)
  const pipelines = usePipelines()
  const link = useLink()
  const freshness = freshnessOf(link)
  const clock = useNow(freshness.current)
  const now = freshness.current ? clock : freshness.asOf
  const [chosen, setChosen] = useState<readonly string[]>([])
  useTitle('Runs', freshness)
  const since = hours === '' || now === null ? null : now - Number(hours) * HOUR_MS
  const shown = runs.filter((run) => since === null || (instant(run.started_at ?? run.updated_at) ?? 0) >= since)
  const narrow = (change: Partial<Filters>) => window.location.replace(hrefToRuns({ ...filters, ...change }))
  const choose = (id: string) =>
    setChosen(chosen.includes(id) ? chosen.filter((one) => one !== id) : [...chosen, id].slice(-2))
  const [a, b] = chosen
  return (
    <>
      <div className="wide runs-head">
        <h1>Runs</h1>
        <Select
          label="Pipeline"
          value={pipeline}
          options={[['', 'all pipelines'], ...pipelines.map((one) => [one.pipeline, one.pipeline] as const)]}
          onChange={(value) => narrow({ pipeline: value })}
        />
        <Select label="Status" value={status} options={STATUSES} onChange={(value) => narrow({ status: value })} />
        <Select label="Time" value={hours} options={TIMES} onChange={(value) => narrow({ hours: value })} />
        {a !== undefined && b !== undefined ? (
          <a className="back" href={hrefToCompare(a, b)}>
            Compare the two
          </a>
        ) : (
          <span className="quiet runs-hint">Choose two to compare</span>
        )}
      </div>
      <section className="wide runs" aria-label="Runs">
        {state === 'failed' && <p className="quiet">The list could not be loaded.</p>}
        {shown.length === 0 && state !== 'failed' && (
          <p className="quiet">{state === 'loading' ? 'Loading…' : 'No run fits.'}</p>
        )}
        {shown.length > 0 && (
          <table>
            <thead>
              <tr>
                <th scope="col">
                  <span className="unseen">Compare</span>
                </th>
                <th scope="col">State</th>
                <th scope="col">Pipeline</th>
                <th scope="col" className="runs-id">
                  Run
                </th>
                <th scope="col" className="runs-why">
                  Why
                </th>
                <th scope="col">Started</th>
                <th scope="col">Took</th>
              </tr>
            </thead>
            <tbody>
              {shown.map((run) => {
                const id = run.run_id ?? ''
                const lasted = elapsed(run.started_at, run.ended_at, now)
                return (
                  <tr key={id} data-run={id}>
                    <td>
                      <input
                        type="checkbox"
                        aria-label={`Compare run ${shortId(id)} of ${run.pipeline}`}
                        checked={chosen.includes(id)}
                        onChange={() => choose(id)}
                      />
                    </td>
                    <td>
                      <a href={hrefTo(run.pipeline, id)} className="runs-state" data-look={lookOf(run)}>
                        <StateMark look={lookOf(run)} />
                        {stateWords(run)}
                      </a>
                    </td>
                    <td>{run.pipeline}</td>
                    <td className="mono runs-id" title={id}>
                      {shortId(id)}
                    </td>
                    <td className="runs-why" title={run.error ?? undefined}>
                      {run.error_code ?? run.trigger?.kind}
                    </td>
                    <td>
                      <Moment at={run.started_at} />
                    </td>
                    <td>{lasted === null ? '–' : run.ended_at === null ? whole(lasted) : took(lasted)}</td>
                  </tr>
                )
              })}
            </tbody>
          </table>
        )}
        {more && (
          <button type="button" className="runs-more" onClick={list.older}>
            Older runs
          </button>
        )}
      </section>
    </>
  )
}

interface SelectProps {
  readonly label: string
  readonly value: string
  readonly options: readonly (readonly [value: string, words: string])[]
  readonly onChange: (value: string) => void
}

function Select({ label, value, options, onChange }: SelectProps): ReactNode {
  return (
    <select aria-label={label} value={value} onChange={(event) => onChange(event.target.value)}>
      {options.map(([name, words]) => (
        <option key={name} value={name}>
          {words}
        </option>
      ))}
    </select>
  )
}
