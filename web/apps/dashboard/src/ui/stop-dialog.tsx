import { type ReactNode, useId, useLayoutEffect, useRef } from 'react'
import { shortId } from '../format.ts'

interface Props {
  readonly runId: string
  /** What the stop will do. */
  readonly words: string
  readonly onCancel: () => void
  readonly onStop: () => void
}

/** Says what a stop does before it is done. */
export function StopDialog({ runId, words, onCancel, onStop }: Props): ReactNode {
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
      <p id={text}>{words}</p>
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
