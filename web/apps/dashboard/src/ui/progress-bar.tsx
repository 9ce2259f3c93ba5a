import type { CSSProperties, ReactNode } from 'react'
import { count, percent } from '../format.ts'
import type { Look, StageRecord } from '../model/run.ts'

interface Props {
  readonly stage: string
  readonly look: Look
  readonly progress: StageRecord['progress']
}

/** How far a stage is. Full only when it has succeeded; striped while it runs and has not said how far it is. */
export function ProgressBar({ stage, look, progress }: Props): ReactNode {
  const share = look === 'success' ? 1 : shareOf(progress)
  const style = { '--share': share ?? 0 } as CSSProperties
  return (
    <div
      className="bar"
      data-look={look}
      data-open={share === null && look === 'running'}
      role="progressbar"
      aria-label={`Progress of ${stage}`}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={share === null ? undefined : Math.floor(share * 100)}
      aria-valuetext={share === null && progress !== null ? `${count(progress.done)} done` : undefined}
      title={share === null ? undefined : percent(share)}
    >
      <span style={style} />
    </div>
  )
}

/** Return the part that is done, 0 to 1; null when no total is known. */
function shareOf(progress: StageRecord['progress']): number | null {
  if (progress === null || progress.total === null || progress.total <= 0) return null
  return Math.min(1, Math.max(0, progress.done / progress.total))
}
