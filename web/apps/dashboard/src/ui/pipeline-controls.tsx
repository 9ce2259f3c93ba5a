import type { PipelineDocument, RunDocument } from '@runstate/client'
import { useView } from '@runstate/react'
import type { ReactNode } from 'react'
import { Controls } from './controls.tsx'
import { Lede } from './lede.tsx'
import { useCommand, useStores } from './stores.tsx'

interface Props {
  readonly pipeline: PipelineDocument
  /** Its current run. */
  readonly run: RunDocument
  readonly current: boolean
  /** How the run stands, in a sentence. */
  readonly children: ReactNode
}

/** The buttons of a pipeline's current run, and the line that says how it stands or why a command was refused. */
export function PipelineControls({ pipeline, run, current, children }: Props): ReactNode {
  const name = pipeline.pipeline
  const { commands } = useStores()
  const command = useCommand(name)
  const entry = useView((view) => (run.run_id === null ? undefined : view.runs[run.run_id])) ?? null
  return (
    <>
      <Controls
        pipeline={pipeline}
        run={run}
        command={command}
        current={current}
        onStart={(body) => commands.start(name, body)}
        onStop={(runId) => commands.stop(name, runId)}
        onRetry={(runId) => commands.retry(name, runId, entry)}
      />
      <Lede refusal={command?.kind === 'refused' ? command.sentence : null} onDismiss={() => commands.dismiss(name)}>
        {children}
      </Lede>
    </>
  )
}
