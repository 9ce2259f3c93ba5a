import type { ReactNode } from 'react'
import type { Look } from '../model/run.ts'
import { StateMark } from './state-mark.tsx'

interface Props {
  readonly look: Look
  readonly words: string
  /** The state's own word, as the document spells it. */
  readonly state: string
}

export function StatePill({ look, words, state }: Props): ReactNode {
  return (
    <span className="pill" data-look={look} data-state={state} role="status">
      <StateMark look={look} />
      {words}
    </span>
  )
}
