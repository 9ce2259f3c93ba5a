import type { ReactNode } from 'react'

interface Props {
  readonly error: string
  /** The stable word for its kind. */
  readonly code: string | null
}

/** An error as the document has it. A long one scrolls inside its box, so the box takes the keyboard's focus. */
export function ErrorText({ error, code }: Props): ReactNode {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls is reachable by keyboard
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for inputs
    <div className="error" role="group" aria-label="Error" tabIndex={0}>
      {code !== null && <code>{code}</code>} {error}
    </div>
  )
}
