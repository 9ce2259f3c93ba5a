/**
 * The recent runs of the pipelines that somebody looks at.
 *
 * Asked for again when the stream shows another run or the end of one, or comes back after a question failed. An answer waits until the view has reached its
 * position, so that the list never knows more than the page around it; one that is older than what is shown, or that a
 * later question has overtaken, is dropped. `mergeRuns` decides what is shown of a run that both know.
 */

import { type Client, type RunDocument, reached } from '@runstate/client'
import { freshnessOf } from '../model/freshness.ts'
import { listKey, mergeRuns } from '../model/recent.ts'
import { type Readable, writable } from './observable.ts'

export interface RecentRuns {
  readonly runs: readonly RunDocument[]
  readonly state: 'loading' | 'ready' | 'failed'
}

export interface RecentRunsStore extends Readable<Readonly<Record<string, RecentRuns>>> {
  /** Keep the list of `pipeline` fresh from now on; safe to call again. */
  readonly watch: (pipeline: string) => void
  /** Ask again, after a failure. */
  readonly retry: (pipeline: string) => void
}

interface Answer {
  readonly position: string
  readonly runs: readonly RunDocument[]
}

/** What is known of one pipeline's list. */
interface Watched {
  key: string | null
  /** Whether the link was live when last looked at; its coming back is a reason to ask again after a failure. */
  current: boolean
  /** Counts the questions; only the answer to the latest is taken. */
  asked: number
  waiting: Answer | null
  listed: readonly RunDocument[]
  state: RecentRuns['state']
}

export function createRecentRuns(client: Client, limit = 30): RecentRunsStore {
  const shown = writable<Readonly<Record<string, RecentRuns>>>({})
  const watched = new Map<string, Watched>()

  const publish = (pipeline: string, list: Watched) => {
    const runs = mergeRuns(list.listed, client.getView(), pipeline, limit)
    const before = shown.get()[pipeline]
    if (before !== undefined && before.state === list.state && sameRuns(before.runs, runs)) return
    shown.set({ ...shown.get(), [pipeline]: { runs, state: list.state } })
  }

  const ask = async (pipeline: string, list: Watched) => {
    const question = ++list.asked
    list.waiting = null
    if (list.state === 'failed') list.state = 'loading'
    try {
      const answer = await client.listRuns({ pipeline, limit })
      if (question !== list.asked) return
      list.waiting = answer
    } catch {
      if (question !== list.asked) return
      list.state = 'failed'
    }
    look(pipeline, list)
  }

  /** Bring one list up to date with the view. */
  const look = (pipeline: string, list: Watched) => {
    const view = client.getView()
    if (list.waiting !== null && reached(view, list.waiting.position)) {
      list.listed = list.waiting.runs
      list.waiting = null
      list.state = 'ready'
    }
    const key = listKey(view, pipeline)
    const current = freshnessOf(view.link).current
    const back = current && !list.current
    list.current = current
    if (key !== null && (key !== list.key || (back && list.state === 'failed'))) {
      list.key = key
      void ask(pipeline, list)
    }
    publish(pipeline, list)
  }

  // For the life of the page.
  client.subscribe(() => {
    for (const [pipeline, list] of watched) look(pipeline, list)
  })

  return {
    get: shown.get,
    subscribe: shown.subscribe,
    watch(pipeline) {
      if (watched.has(pipeline)) return
      const list: Watched = { key: null, current: false, asked: 0, waiting: null, listed: [], state: 'loading' }
      watched.set(pipeline, list)
      look(pipeline, list)
    },
    retry(pipeline) {
      const list = watched.get(pipeline)
      if (list === undefined) return
      void ask(pipeline, list)
      publish(pipeline, list)
    },
  }
}

function sameRuns(a: readonly RunDocument[], b: readonly RunDocument[]): boolean {
  return a.length === b.length && a.every((run, place) => run === b[place])
}
