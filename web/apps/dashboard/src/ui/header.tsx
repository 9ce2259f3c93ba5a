import type { PipelineDocument } from '@runstate/client'
import type { ReactNode } from 'react'
import { hrefTo } from '../store/route.ts'
import { PipelineTab } from './pipeline-tab.tsx'

interface Props {
  readonly pipelines: readonly PipelineDocument[]
  readonly selected: string | null
  /** The link badge. */
  readonly children: ReactNode
}

export function Header({ pipelines, selected, children }: Props): ReactNode {
  return (
    <header className="top">
      <a className="brand" href="#/">
        runstate
      </a>
      {pipelines.length > 1 && (
        <nav aria-label="Pipelines">
          {pipelines.map(({ pipeline }) => (
            <PipelineTab key={pipeline} pipeline={pipeline} href={hrefTo(pipeline)} selected={pipeline === selected} />
          ))}
        </nav>
      )}
      {children}
    </header>
  )
}
