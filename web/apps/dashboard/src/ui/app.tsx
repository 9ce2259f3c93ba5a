import { useLink, usePipelines, useView } from '@runstate/react'
import type { ReactNode } from 'react'
import { explanation, freshnessOf } from '../model/freshness.ts'
import type { Route } from '../store/route.ts'
import { Compare } from './compare.tsx'
import { NoPipelines, NoSuchPipeline, Waiting } from './empty.tsx'
import { Header } from './header.tsx'
import { LinkBadge } from './link-badge.tsx'
import { Login } from './login.tsx'
import { Notice } from './notice.tsx'
import { Overview } from './overview.tsx'
import { RunPage } from './run-page.tsx'
import { RunsPage } from './runs-page.tsx'
import { useNow, useRoute } from './stores.tsx'

/**
 * The frame of the page: what is shown, and whether to believe it.
 *
 * Every part comes with the first download: a part that was fetched when first needed would break the page of a server
 * that is away, which is the page that has most to say.
 */
export function App(): ReactNode {
  const route = useRoute()
  const link = useLink()
  const known = useView((view) => view.position !== null)
  const freshness = freshnessOf(link)
  const age = useNow(freshness.asOf !== null)
  const name = 'pipeline' in route ? route.pipeline : null
  const shown = useView((view) => {
    if (name === null) return null
    const pipeline = view.pipelines[name]
    const id = route.page === 'run' ? route.run : pipeline?.document.current_run_id
    return (id ? view.runs[id] : pipeline) ?? null
  })
  // A look back is of another version than the stream's: it says itself which.
  const isBack = route.page === 'run' && route.version !== null
  const locked = link.problem?.code === 'unauthorized'
  return (
    <div className="page" data-grey={freshness.grey}>
      <Header route={route}>
        <LinkBadge freshness={freshness} now={age} shown={isBack ? null : shown} transport={link.transport} />
        <Notice text={locked ? null : explanation(link)} bad={freshness.tone === 'bad'} />
      </Header>
      <main>
        {locked && <Login />}
        {known ? <Page route={route} /> : !locked && <Waiting />}
      </main>
    </div>
  )
}

function Page({ route }: { readonly route: Route }): ReactNode {
  const pipelines = usePipelines()
  if (route.page === 'runs') return <RunsPage filters={route.filters} />
  if (route.page === 'compare') return <Compare runs={route.runs} />
  if (route.page === 'overview') return pipelines.length === 0 ? <NoPipelines /> : <Overview />
  const pipeline = pipelines.find((one) => one.pipeline === route.pipeline)
  if (pipeline === undefined) return <NoSuchPipeline name={route.pipeline} />
  const picked = route.page === 'run' ? route : { run: null, version: null }
  return <RunPage key={pipeline.pipeline} pipeline={pipeline} id={picked.run} version={picked.version} />
}
