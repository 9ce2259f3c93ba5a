import type { PipelineDocument, RunDocument, StartBody } from '@runstate/client'
import { type ReactNode, useState } from 'react'
import { shortId } from '../format.ts'
import { retryWords, stopWords } from '../model/lede.ts'
import { isStopping, mayRetry, mayStart, mayStop } from '../model/run.ts'
import type { Command } from '../store/commands.ts'
import { Dialog } from './dialog.tsx'
import { StartDialog } from './start-dialog.tsx'

interface Props {
  readonly pipeline: PipelineDocument
  readonly run: RunDocument
  readonly command: Command | undefined
  /** Whether the page shows the present; without that a button would act on a guess. */
  readonly current: boolean
  readonly onStart: (body?: StartBody) => void
  readonly onStop: (runId: string) => void
  readonly onRetry: (runId: string) => void
}

/** Start, and Stop or Retry. Busy from the click until the commit that it caused is on the page. */
export function Controls({ pipeline, run, command, current, onStart, onStop, onRetry }: Props): ReactNode {
  // What the reader is about to do to which run; the question ends by itself when it makes no sense any more.
  const [asking, setAsking] = useState<{
    readonly what: 'start' | 'stop' | 'retry'
    readonly run: string | null
  } | null>(null)
  const busy = command !== undefined && command.kind !== 'refused' ? command.verb : null
  const free = current && busy === null
  const can = { start: mayStart(run) && free, stop: mayStop(run) && free, retry: mayRetry(run) && free }
  const asked = asking !== null && asking.run === run.run_id && can[asking.what] ? asking : null
  const id = run.run_id
  const done = () => setAsking(null)
  const ask = (what: 'start' | 'stop' | 'retry') => setAsking({ what, run: id })
  return (
    <div className="controls">
      <button
        type="button"
        className="start"
        disabled={!can.start}
        aria-busy={busy === 'start'}
        onClick={() => onStart()}
      >
        {busy === 'start' ? 'Starting…' : 'Start'}
      </button>
      <button type="button" className="with" disabled={!can.start} onClick={() => ask('start')}>
        Start with…
      </button>
      {mayRetry(run) ? (
        <button
          type="button"
          className="retry"
          disabled={!can.retry}
          aria-busy={busy === 'retry'}
          onClick={() => ask('retry')}
        >
          {busy === 'retry' ? 'Retrying…' : 'Retry…'}
        </button>
      ) : (
        <button
          type="button"
          className="stop"
          disabled={!can.stop}
          aria-busy={busy === 'stop' || isStopping(run)}
          onClick={() => ask('stop')}
        >
          {busy === 'stop' || isStopping(run) ? 'Stopping…' : 'Stop…'}
        </button>
      )}
      {asked?.what === 'stop' && id !== null && (
        <Dialog
          title={
            <>
              Stop run <span title={id}>{shortId(id)}</span>?
            </>
          }
          words={stopWords(run)}
          cancel="Keep running"
          onCancel={done}
          go="Stop the run"
          bad
          onGo={() => {
            done()
            onStop(id)
          }}
        />
      )}
      {asked?.what === 'retry' && id !== null && (
        <Dialog
          title={
            <>
              Retry run <span title={id}>{shortId(id)}</span>?
            </>
          }
          words={retryWords(run)}
          onCancel={done}
          go="Retry the run"
          onGo={() => {
            done()
            onRetry(id)
          }}
        />
      )}
      {asked?.what === 'start' && (
        <StartDialog
          pipeline={pipeline}
          onCancel={done}
          onStart={(body) => {
            done()
            onStart(body)
          }}
        />
      )}
    </div>
  )
}
