/** A run's log as rows: lines, and a marker wherever lines are missing. Pure; offsets are those of PROTOCOL H8. */

import type { LogLine } from '@runstate/client'

export interface Gap {
  readonly kind: 'gap'
  readonly why: string
}

export type Row = (LogLine & { readonly kind: 'line' }) | Gap

export interface LogFilter {
  /** Empty: all stages. */
  readonly stage: string
  readonly search: string
  /** Only what was said by then, as a document's time; null: everything. */
  readonly until: string | null
}

/** More than this is not kept by a page; the oldest go first, behind a marker. */
export const MOST_ROWS = 200_000

const FORGOTTEN: Gap = { kind: 'gap', why: 'Older lines are not kept by this page; `runstate logs` has them.' }

/** Return `rows` with the lines of one page after them. */
export function withLines(rows: readonly Row[], lines: readonly LogLine[]): readonly Row[] {
  const fresh = lines.map((line): Row => (line.gap === undefined ? { ...line, kind: 'line' } : gapOf(line)))
  const all = [...rows, ...fresh]
  return all.length <= MOST_ROWS ? all : [FORGOTTEN, ...all.slice(all.length - MOST_ROWS + MOST_ROWS / 10)]
}

function gapOf({ text }: LogLine): Gap {
  return { kind: 'gap', why: text }
}

/** Return the rows that the reader asked for; gaps stay, so that nobody takes a hole for silence. */
export function matching(rows: readonly Row[], { stage, search, until }: LogFilter): readonly Row[] {
  if (stage === '' && search === '' && until === null) return rows
  const wanted = search.toLowerCase()
  return rows.filter(
    (row) =>
      row.kind === 'gap' ||
      ((until === null || row.at <= until) &&
        (stage === '' || row.stage === stage) &&
        (wanted === '' || row.text.toLowerCase().includes(wanted))),
  )
}
