import type { ReactNode } from 'react'
import { brief, isDull } from '../model/diff.ts'
import type { Change } from './change.ts'

/** What a version changed, member by member: what was there, and what is there now. */
export function PatchRows({ change: { from, to, rows } }: { readonly change: Change }): ReactNode {
  if (rows === null) return <p>The server has no commit for this version any more.</p>
  if (from === null) return <p>The first version of the run.</p>
  return (
    <>
      {to - from > 1 && <p className="quiet">{`${to - from} commits at once, v ${from} → v ${to}:`}</p>}
      <ul aria-label={`What changed from version ${from} to ${to}`}>
        {rows.map((row) => (
          <li key={row.path} data-dull={isDull(row)}>
            <span className="patch-path">{row.path}</span>
            <span>
              {row.before !== undefined && <del>{brief(row.before)}</del>}
              {row.before !== undefined && row.after !== undefined && ' → '}
              {row.after !== undefined && <ins>{brief(row.after)}</ins>}
            </span>
          </li>
        ))}
      </ul>
    </>
  )
}
