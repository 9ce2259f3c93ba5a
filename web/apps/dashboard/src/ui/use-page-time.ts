import type { RunDocument, View } from '@runstate/client'
import { instant } from '../format.ts'
import { type Freshness, freshnessOf } from '../model/freshness.ts'
import { isActive, type Standing } from '../model/run.ts'
import { useNow } from './stores.tsx'

export interface PageTime {
  readonly freshness: Freshness
  /** The moment that the page shows: now while it is current, else when it was last known to be; null if never. */
  readonly now: number | null
}

/**
 * Return the time of the page. It ticks only while `run` is active and the link says that the page is current.
 *
 * The reader's clock may be behind the server's, but what the server has committed has happened.
 */
export function usePageTime(link: View['link'], run: (Standing & Pick<RunDocument, 'updated_at'>) | null): PageTime {
  const freshness = freshnessOf(link)
  const clock = useNow(run !== null && isActive(run) && freshness.current)
  const now = freshness.current ? clock : freshness.asOf
  return { freshness, now: now === null ? null : Math.max(now, instant(run?.updated_at ?? null) ?? 0) }
}
