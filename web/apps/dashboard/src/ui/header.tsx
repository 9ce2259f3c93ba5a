import { usePipelines } from '@runstate/react'
import type { ReactNode } from 'react'
import { hrefTo, hrefToRuns, type Route } from '../store/route.ts'
import { PipelineTab } from './pipeline-tab.tsx'

interface Props {
  readonly route: Route
  /** The link badge. */
  readonly children: ReactNode
}

export function Header({ route, children }: Props): ReactNode {
  const pipelines = usePipelines()
  const selected = 'pipeline' in route ? route.pipeline : null
  const isRuns = route.page === 'runs' || route.page === 'compare'
  return (
    <header className="top">
      <a className="brand" href="#/">
        runstate
      </a>
      <nav aria-label="Pages">
        <a className="tab" href="#/" aria-current={route.page === 'overview' ? 'page' : undefined}>
          Overview
        </a>
        <a className="tab" href={hrefToRuns()} aria-current={isRuns ? 'page' : undefined}>
          Runs
        </a>
        {pipelines.map(({ pipeline }) => (
          <PipelineTab key={pipeline} pipeline={pipeline} href={hrefTo(pipeline)} selected={pipeline === selected} />
        ))}
      </nav>
      {children}
    </header>
  )
}
