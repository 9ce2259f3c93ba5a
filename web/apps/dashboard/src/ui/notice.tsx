import type { ReactNode } from 'react'

/** Why the page is not the present. It lies over the page, so that nothing moves when the link comes and goes. */
export function Notice({ text, bad }: { readonly text: string | null; readonly bad: boolean }): ReactNode {
  return (
    <div className="notice" role="status" data-bad={bad}>
      {text !== null && <p>{text}</p>}
    </div>
  )
}
