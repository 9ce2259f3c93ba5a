import { useMemo, useSyncExternalStore } from 'react'
import { followHistory, type History, NO_HISTORY } from './history.ts'
import { useClient } from './provider.tsx'

/**
 * Return the latest commits of run `id`, oldest first, as far as the view goes; they follow it.
 *
 * @param options.limit How many, at most 1 000; default 100.
 */
export function useHistory(id: string | null, { limit = 100 }: { readonly limit?: number } = {}): History {
  const client = useClient()
  const followed = useMemo(
    () => (id === null ? NOTHING : followHistory(client, id, Math.min(1_000, limit))),
    [client, id, limit],
  )
  return useSyncExternalStore(followed.subscribe, followed.get, nothing)
}

const nothing = () => NO_HISTORY
const NOTHING = { get: nothing, subscribe: () => () => {} }
