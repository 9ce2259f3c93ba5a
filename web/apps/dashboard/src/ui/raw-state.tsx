import type { RunDocument } from '@runstate/client'
import { type ReactNode, useState } from 'react'

interface Props {
  readonly run: RunDocument
  readonly digest: string | null
}

/** The document itself, for who wants to check the page against it. Built only while it is open. */
export function RawState({ run, digest }: Props): ReactNode {
  const [open, setOpen] = useState(false)
  return (
    <section className="raw">
      <details onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>Raw state</summary>
        {open && (
          <>
            {digest !== null && <p className="mono">{digest}</p>}
            {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable region takes focus */}
            <pre tabIndex={0}>{JSON.stringify(run, null, 2)}</pre>
          </>
        )}
      </details>
    </section>
  )
}
