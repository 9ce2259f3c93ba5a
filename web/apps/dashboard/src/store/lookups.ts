/**
 * Runs that neither the view nor a list has, by id: asked for once, and again when somebody wants them anew.
 *
 * They are not in the view (PROTOCOL F11); whoever shows one prefers what the view has of it.
 */
import { type Client, type Entry, ProblemError, type RunDocument } from '@runstate/client'
import { type Readable, writable } from './observable.ts'

export type Lookup = Entry<RunDocument> | 'asking' | 'missing' | 'failed'

export interface LookupsStore extends Readable<Readonly<Record<string, Lookup>>> {
  readonly want: (runId: string) => void
}

export function createLookups(client: Client): LookupsStore {
  const shown = writable<Readonly<Record<string, Lookup>>>({})
  const put = (id: string, lookup: Lookup) => shown.set({ ...shown.get(), [id]: lookup })
  return {
    get: shown.get,
    subscribe: shown.subscribe,
    want(id) {
      const known = shown.get()[id]
      if (known === 'asking' || known === 'missing') return
      if (known === undefined || known === 'failed') put(id, 'asking')
      client.getRun(id).then(
        (entry) => put(id, entry),
        (reason) => {
          const isMissing = reason instanceof ProblemError && reason.problem.code === 'not_found'
          if (typeof shown.get()[id] === 'string') put(id, isMissing ? 'missing' : 'failed')
        },
      )
    },
  }
}
