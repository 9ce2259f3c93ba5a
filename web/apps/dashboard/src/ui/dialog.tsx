import { type ReactNode, useId, useLayoutEffect, useRef } from 'react'

interface Props {
  readonly title: ReactNode
  /** What will happen. */
  readonly words: string
  readonly cancel?: string
  readonly onCancel: () => void
  readonly go: string
  readonly bad?: boolean
  readonly onGo: () => void
  /** Inputs. */
  readonly children?: ReactNode
}

/** Says what a command does before it is done, and asks for what it needs. */
export function Dialog({ title, words, cancel = 'Cancel', onCancel, go, bad = false, onGo, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null)
  const name = useId()
  const text = useId()
  // In the layout phase, so that it is closed while it is still in the page: only then does the focus go back.
  useLayoutEffect(() => {
    const element = dialog.current
    element?.showModal()
    return () => element?.close()
  }, [])
  return (
    <dialog ref={dialog} aria-labelledby={name} aria-describedby={text} onCancel={onCancel}>
      <form
        method="dialog"
        onSubmit={(event) => {
          event.preventDefault()
          onGo()
        }}
      >
        <h2 id={name}>{title}</h2>
        <p id={text}>{words}</p>
        {children}
        <div className="dialog-buttons">
          <button type="button" onClick={onCancel}>
            {cancel}
          </button>
          <button type="submit" className={bad ? 'stop' : 'start'}>
            {go}
          </button>
        </div>
      </form>
    </dialog>
  )
}
