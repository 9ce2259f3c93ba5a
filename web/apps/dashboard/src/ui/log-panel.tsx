import { useVirtualizer } from '@tanstack/react-virtual'
import { type ReactNode, useDeferredValue, useLayoutEffect, useMemo, useRef, useState } from 'react'
import { clock, count, instant } from '../format.ts'
import { matching, type Row } from '../model/log.ts'
import { useLog } from './stores.tsx'

const ROW_PX = 20

const WORDS = {
  loading: 'loading…',
  following: 'following',
  ended: 'complete',
  failed: 'not reachable; trying again',
} as const

interface Props {
  readonly runId: string
  readonly stages: readonly string[]
  /** The moment that the reader looks back at, as a document's time; null: the present. */
  readonly until: string | null
  /** Whether the page shows the present: else nobody knows what the log says by now. */
  readonly current: boolean
}

/** The run's log: only the rows in sight are in the page. It stays at its end until the reader scrolls away. */
export function LogPanel({ runId, stages, until, current }: Props): ReactNode {
  const { rows, state } = useLog(runId)
  const [stage, setStage] = useState('')
  const [search, setSearch] = useState('')
  const asked = useDeferredValue(search)
  const shown = useMemo(() => matching(rows, { stage, search: asked, until }), [rows, stage, asked, until])
  const box = useRef<HTMLDivElement>(null)
  const [atEnd, setAtEnd] = useState(true)
  const list = useVirtualizer({
    count: shown.length,
    getScrollElement: () => box.current,
    estimateSize: () => ROW_PX,
    overscan: 12,
  })
  const total = shown.length
  // biome-ignore lint/correctness/useExhaustiveDependencies: each time that there are more lines
  useLayoutEffect(() => {
    if (atEnd && box.current !== null) box.current.scrollTop = box.current.scrollHeight
  }, [atEnd, total])
  return (
    <section aria-labelledby="log" className="log">
      <div className="log-head">
        <h2 id="log">Log</h2>
        <span className="quiet" role="status">
          {until !== null ? 'as far as it went then' : state === 'following' && !current ? 'as it was' : WORDS[state]}
        </span>
        <label className="unseen" htmlFor="log-stage">
          Stage of the log
        </label>
        <select id="log-stage" value={stage} onChange={(event) => setStage(event.target.value)}>
          <option value="">all stages</option>
          {stages.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
        <label className="unseen" htmlFor="log-search">
          Search the log
        </label>
        <input
          id="log-search"
          type="search"
          placeholder="Search"
          value={search}
          onChange={(event) => setSearch(event.target.value)}
        />
        <span className="quiet log-count">
          {shown.length === rows.length
            ? `${count(rows.length)} lines`
            : `${count(shown.length)} of ${count(rows.length)}`}
        </span>
      </div>
      {/* biome-ignore lint/a11y/useSemanticElements: a section of a section is none */}
      <div
        ref={box}
        className="log-box"
        role="group"
        aria-label="Log lines"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls is reachable by keyboard
        tabIndex={0}
        onScroll={({ currentTarget: at }) => setAtEnd(at.scrollHeight - at.scrollTop - at.clientHeight < ROW_PX)}
      >
        <div className="log-rows" style={{ height: list.getTotalSize() }}>
          {list.getVirtualItems().map(({ index, start }) => {
            const row = shown[index]
            return row && <LogRow key={index} row={row} top={start} />
          })}
        </div>
      </div>
      {!atEnd && (
        <button type="button" className="log-end" onClick={() => setAtEnd(true)}>
          To the end
        </button>
      )}
    </section>
  )
}

function LogRow({ row, top }: { readonly row: Row; readonly top: number }): ReactNode {
  const style = { transform: `translateY(${top}px)` }
  if (row.kind === 'gap') {
    return (
      <div className="log-row log-gap" style={style}>
        ⋯ {row.why}
      </div>
    )
  }
  const at = instant(row.at)
  return (
    <div className="log-row" data-level={row.level} style={style}>
      <span className="log-at" title={row.at}>
        {at === null ? '' : clock(at)}
      </span>
      <span className="log-stage">{row.stage}</span>
      <span>{row.text}</span>
    </div>
  )
}
