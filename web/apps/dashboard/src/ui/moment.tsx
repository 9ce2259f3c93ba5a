import type { ReactNode } from 'react'
import { dayClock, instant, upcoming } from '../format.ts'
import { useToday } from './stores.tsx'

interface Props {
  readonly at: string | null
  /** It is still to come. */
  readonly isNext?: boolean
}

/** A time of a document: the reader's clock on the page, the document's own text in the tooltip. */
export function Moment({ at, isNext = false }: Props): ReactNode {
  const today = useToday()
  const ms = instant(at)
  if (at === null || ms === null) return '–'
  return (
    <time dateTime={at} title={at}>
      {isNext ? upcoming(ms, today) : dayClock(ms, today)}
    </time>
  )
}
