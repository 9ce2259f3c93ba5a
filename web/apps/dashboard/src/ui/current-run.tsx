import type { PipelineDocument } from '@runstate/client'
import { usePipelineState, useView } from '@runstate/react'
import type { ReactNode } from 'react'
import { ledeFor } from '../model/lede.ts'
import { stateWords } from '../model/run.ts'
import { Controls } from './controls.tsx'
import { Waiting } from './empty.tsx'
import { Lede } from './lede.tsx'
import { RunView } from './run-view.tsx'
import { useCommand, useStores } from './stores.tsx'
import { usePageTime } from './use-page-time.ts'
import { useTitle } from './use-title.ts'

/** A pipeline's current run, whichever that is, with the buttons that act on it. */
export function CurrentRun({ pipeline }: { readonly pipeline: PipelineDocument }): ReactNode {
  const name = pipeline.pipeline
  const { commands } = useStores()
  const { link, ...run } = usePipelineState(name)
  const entry = useView((view) => (run.run_id === null ? undefined : view.runs[run.run_id])) ?? null
  const command = useCommand(name)
  const { now, freshness } = usePageTime(link, run.state === null ? null : run)
  useTitle(run.state === null ? name : `${stateWords(run)} · ${name}`, freshness)
  if (run.state === null) return <Waiting />
  return (
    <RunView
      pipeline={pipeline}
      run={run}
      entry={entry}
      now={now}
      controls={
        <Controls
          run={run}
          command={command}
          current={freshness.current}
          onStart={() => commands.start(name)}
          onStop={(runId) => commands.stop(name, runId)}
        />
      }
      lede={
        <Lede refusal={command?.kind === 'refused' ? command.sentence : null} onDismiss={() => commands.dismiss(name)}>
          {ledeFor(run)}
        </Lede>
      }
    />
  )
}
