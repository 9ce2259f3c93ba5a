import { usePipelineState } from '@runstate/react'
import { type ReactNode, useEffect, useRef } from 'react'
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
  const tab = useRef<HTMLAnchorElement>(null)
  // On a small screen the tabs scroll: the one that is shown is in sight.
  useEffect(() => {
    if (selected) tab.current?.scrollIntoView({ block: 'nearest', inline: 'nearest' })
  }, [selected])
  return (
    <a
      ref={tab}
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
