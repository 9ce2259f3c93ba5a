import type { ReactNode } from 'react'

interface Props {
  /** What went wrong with the reader's last command. */
  readonly refusal: string | null
  readonly onDismiss: () => void
  readonly children: ReactNode
}

/** The one line under the title: it keeps its place, and a refused command speaks there first. */
export function Lede({ refusal, onDismiss, children }: Props): ReactNode {
  return (
    <div className="lede">
      <div role="alert">
        {refusal !== null && (
          <span className="refusal">
            {refusal}{' '}
            <button type="button" className="textual" onClick={onDismiss}>
              Dismiss
            </button>
          </span>
        )}
      </div>
      {refusal === null && children}
    </div>
  )
}
