import type { ReactNode } from 'react'
import type { Look } from '../model/run.ts'

/** A state as a shape: readable without colour, at 14 px. The word beside it is the label, so the mark is silent. */
export function StateMark({ look }: { readonly look: Look }): ReactNode {
  return (
    <svg className="mark" data-look={look} viewBox="0 0 16 16" aria-hidden="true">
      {SHAPES[look]}
    </svg>
  )
}

const ring = <circle className="line" cx="8" cy="8" r="5.25" />

const SHAPES: Readonly<Record<Look, ReactNode>> = {
  idle: ring,
  pending: ring,
  scheduled: (
    <>
      {ring}
      <path className="line" d="M8 5.2V8l1.9 1.3" />
    </>
  ),
  running: (
    <>
      <circle className="halo" cx="8" cy="8" r="7" />
      <circle className="fill" cx="8" cy="8" r="4.5" />
    </>
  ),
  retrying: <path className="line" d="M12.9 9.4A5.1 5.1 0 1 1 12.2 5.1M12.9 2.4v3h-3" />,
  stopping: (
    <>
      {ring}
      <rect className="fill" x="5.9" y="5.9" width="4.2" height="4.2" rx="0.6" />
    </>
  ),
  success: <path className="line" d="M3.2 8.6l3.2 3.2 6.4-7.2" />,
  failed: <path className="line" d="M4 4l8 8M12 4l-8 8" />,
  stopped: <rect className="fill" x="3.75" y="3.75" width="8.5" height="8.5" rx="1.25" />,
  skipped: <path className="line" d="M3.5 4.5L7 8l-3.5 3.5M8.5 4.5L12 8l-3.5 3.5" />,
  unknown: <path className="line" d="M5.8 6.2A2.2 2.2 0 1 1 8.6 8.3Q8 8.6 8 9.6M8 12.2v.1" />,
}
