import { useLink, usePipelines, useView } from '@runstate/react'
import type { ReactNode } from 'react'
import { explanation, freshnessOf } from '../model/freshness.ts'
import { CurrentRun } from './current-run.tsx'
import { NoPipelines, NoSuchPipeline, Waiting } from './empty.tsx'
import { Header } from './header.tsx'
import { LinkBadge } from './link-badge.tsx'
import { Notice } from './notice.tsx'
import { PastRun } from './past-run.tsx'
import { useNow, useRoute } from './stores.tsx'

/** The frame of the page: who is selected, and whether to believe it. */
export function App(): ReactNode {
  const route = useRoute()
  const pipelines = usePipelines()
  const link = useLink()
  const known = useView((view) => view.position !== null)
  const pipeline = route.pipeline === null ? pipelines[0] : pipelines.find((one) => one.pipeline === route.pipeline)
  const freshness = freshnessOf(link)
  const age = useNow(freshness.asOf !== null)
  const shown = useView((view) => {
    const id = route.run ?? pipeline?.current_run_id
    return (id ? view.runs[id] : pipeline && view.pipelines[pipeline.pipeline]) ?? null
  })
  return (
    <div className="page" data-grey={freshness.grey}>
      <Header pipelines={pipelines} selected={pipeline?.pipeline ?? null}>
        <LinkBadge freshness={freshness} now={age} shown={shown} transport={link.transport} />
        <Notice text={explanation(link)} bad={freshness.tone === 'bad'} />
      </Header>
      <main>
        {!known ? (
          <Waiting />
        ) : pipeline === undefined ? (
          route.pipeline === null ? (
            <NoPipelines />
          ) : (
            <NoSuchPipeline name={route.pipeline} />
          )
        ) : route.run === null ? (
          <CurrentRun key={pipeline.pipeline} pipeline={pipeline} />
        ) : (
          <PastRun key={route.run} pipeline={pipeline} id={route.run} />
        )}
      </main>
    </div>
  )
}
