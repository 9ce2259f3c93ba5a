import type { ReactNode } from 'react'
import { useTail } from './stores.tsx'

interface Props {
  readonly runId: string
  readonly stage: string
}

/** The last that a failed stage said: most often the reason stands there. */
export function FailedLines({ runId, stage }: Props): ReactNode {
  const last = useTail(runId, stage)
  if (last.length === 0) return null
  return (
    <section aria-labelledby="last-lines">
      <h2 id="last-lines">The last lines of {stage}</h2>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls is reachable by keyboard */}
      <pre className="last-lines" tabIndex={0}>
        {last.map((row) => row.text).join('\n')}
      </pre>
    </section>
  )
}
