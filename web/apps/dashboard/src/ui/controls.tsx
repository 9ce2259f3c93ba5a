import { type ReactNode, useState } from 'react'
import { stopWords } from '../model/lede.ts'
import { isStopping, mayStart, mayStop, type Standing } from '../model/run.ts'
import type { Command } from '../store/commands.ts'
import { StopDialog } from './stop-dialog.tsx'

interface Props {
  readonly run: Standing & { readonly run_id: string | null; readonly current_stage: string | null }
  readonly command: Command | undefined
  /** Whether the page shows the present; without that a button would act on a guess. */
  readonly current: boolean
  readonly onStart: () => void
  readonly onStop: (runId: string) => void
}

/** Start and Stop. Busy from the click until the commit that it caused is on the page. */
export function Controls({ run, command, current, onStart, onStop }: Props): ReactNode {
  // Which run the reader is about to stop; the question ends by itself when that run does.
  const [asking, setAsking] = useState<string | null>(null)
  const busy = command !== undefined && command.kind !== 'refused' ? command.verb : null
  const stoppable = mayStop(run) && current && busy === null
  return (
    <div className="controls">
      <button
        type="button"
        className="start"
        disabled={!mayStart(run) || !current || busy !== null}
        aria-busy={busy === 'start'}
        onClick={onStart}
      >
        {busy === 'start' ? 'Starting…' : 'Start'}
      </button>
      <button
        type="button"
        className="stop"
        disabled={!stoppable}
        aria-busy={busy === 'stop' || isStopping(run)}
        onClick={() => setAsking(run.run_id)}
      >
        {busy === 'stop' || isStopping(run) ? 'Stopping…' : 'Stop…'}
      </button>
      {asking !== null && asking === run.run_id && stoppable && (
        <StopDialog
          runId={asking}
          words={stopWords(run)}
          onCancel={() => setAsking(null)}
          onStop={() => {
            setAsking(null)
            onStop(asking)
          }}
        />
      )}
    </div>
  )
}
