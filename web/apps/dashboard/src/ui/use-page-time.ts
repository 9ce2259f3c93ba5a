import type { View } from '@runstate/client'
import { type Freshness, freshnessOf } from '../model/freshness.ts'
import { useNow } from './stores.tsx'

export interface PageTime {
  readonly freshness: Freshness
  /** The moment that the page shows: now while it is current, else when it was last known to be; null if never. */
  readonly now: number | null
}

/** Return the time of the page. It ticks only while something goes on and the link says that the page is current. */
export function usePageTime(link: View['link'], active: boolean): PageTime {
  const freshness = freshnessOf(link)
  const clock = useNow(active && freshness.current)
  return { freshness, now: freshness.current ? clock : freshness.asOf }
}
