import { usePipelineState } from '@runstate/react'
import type { ReactNode } from 'react'
import { lookOf, stateWords } from '../model/run.ts'
import { StateMark } from './state-mark.tsx'

interface Props {
  readonly pipeline: string
  readonly href: string
  readonly selected: boolean
}

/** One pipeline of several: its name, and how it stands. */
export function PipelineTab({ pipeline, href, selected }: Props): ReactNode {
  const run = usePipelineState(pipeline)
  const known = run.state !== null
  return (
    <a
      className="tab"
      href={href}
      aria-current={selected ? 'page' : undefined}
      title={known ? stateWords(run) : undefined}
    >
      <StateMark look={known ? lookOf(run) : 'unknown'} />
      {pipeline}
      {known && <span className="unseen">, {stateWords(run)}</span>}
    </a>
  )
}
