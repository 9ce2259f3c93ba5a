import { type ReactNode, useId, useLayoutEffect, useRef } from 'react'
import { shortId } from '../format.ts'

interface Props {
  readonly runId: string
  /** What runs, or is tried again; null before the first stage. */
  readonly stage: string | null
  readonly onCancel: () => void
  readonly onStop: () => void
}

/** Says what a stop does before it is done. */
export function StopDialog({ runId, stage, onCancel, onStop }: Props): ReactNode {
  const dialog = useRef<HTMLDialogElement>(null)
  const title = useId()
  const text = useId()
  // In the layout phase, so that it is closed while it is still in the page: only then does the focus go back.
  useLayoutEffect(() => {
    const element = dialog.current
    element?.showModal()
    return () => element?.close()
  }, [])
  return (
    <dialog ref={dialog} aria-labelledby={title} aria-describedby={text} onCancel={onCancel}>
      <h2 id={title}>
        Stop run <span title={runId}>{shortId(runId)}</span>?
      </h2>
      <p id={text}>
        {stage === null
          ? 'No stage has begun; the run is stopped before one does.'
          : `This asks ${stage} to end, and kills it and everything it started if it has not ended after its grace period. Then the run is stopped. Finished stages stay finished.`}
      </p>
      <div className="dialog-buttons">
        <button type="button" onClick={onCancel}>
          Keep running
        </button>
        <button type="button" className="stop" onClick={onStop}>
          Stop the run
        </button>
      </div>
    </dialog>
  )
}
