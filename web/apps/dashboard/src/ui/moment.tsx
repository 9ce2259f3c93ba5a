import type { ReactNode } from 'react'
import { dayClock, instant } from '../format.ts'
import { useToday } from './stores.tsx'

/** A time of a document: the reader's clock on the page, the document's own text in the tooltip. */
export function Moment({ at }: { readonly at: string | null }): ReactNode {
  const today = useToday()
  const ms = instant(at)
  if (at === null || ms === null) return '–'
  return (
    <time dateTime={at} title={at}>
      {dayClock(ms, today)}
    </time>
  )
}
