import type { ReactNode } from 'react'
import { useTail } from './stores.tsx'

interface Props {
  readonly runId: string
  readonly stage: string
  /** The one that failed; what earlier ones said stands in the log. */
  readonly attempt: number
}

/** The last that a failed stage said: most often the reason stands there. */
export function FailedLines({ runId, stage, attempt }: Props): ReactNode {
  const last = useTail(runId, stage).filter((line) => line.attempt === attempt)
  if (last.length === 0) return null
  return (
    <section aria-labelledby="last-lines">
      <h2 id="last-lines">The last lines of {stage}</h2>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls is reachable by keyboard */}
      <pre className="last-lines" tabIndex={0}>
        {last.map(({ offset, level, text }) => (
          <span key={offset} data-level={level}>
            {text}
            {'\n'}
          </span>
        ))}
      </pre>
    </section>
  )
}
