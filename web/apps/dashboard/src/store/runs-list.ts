/**
 * The runs that the runs page lists: what the server answered to the filters, corrected by the view.
 *
 * Law: as for the recent runs, an answer waits until the view has reached its position, and one to an older question is
 * dropped. It is asked again when the view shows a new run or the end of one.
 */
import { type Client, type RunDocument, type RunList, reached } from '@runstate/client'
import { listKey, newest } from '../model/recent.ts'
import { type Readable, writable } from './observable.ts'

export interface ListQuery {
  readonly pipeline: string
  readonly status: string
}

export interface ListedRuns {
  readonly runs: readonly RunDocument[]
  readonly state: 'loading' | 'ready' | 'failed'
  /** There are older ones. */
  readonly more: boolean
}

export interface RunsListStore extends Readable<ListedRuns> {
  readonly ask: (query: ListQuery) => void
  readonly older: () => void
}

const LOADING: ListedRuns = { runs: [], state: 'loading', more: false }
const PAGE = 100

export function createRunsList(client: Client): RunsListStore {
  const shown = writable(LOADING)
  let query: ListQuery | null = null
  let question = 0
  let listed: readonly RunDocument[] = []
  let next: string | null = null
  let waiting: (RunList & { readonly after: boolean }) | null = null
  let key = ''

  const publish = (state: ListedRuns['state']) => {
    const view = client.getView()
    const runs = listed.map((run) => newest(run, view.runs[run.run_id ?? '']?.document)).filter(fits)
    shown.set({ runs, state, more: next !== null })
  }
  const fits = (run: RunDocument) => query === null || query.status === '' || run.status === query.status

  const load = async (before: string | null) => {
    if (query === null) return
    const mine = ++question
    const narrowed = Object.fromEntries(Object.entries(query).filter(([, value]) => value !== ''))
    try {
      const list = await client.listRuns({ ...narrowed, limit: PAGE, ...(before === null ? {} : { before }) })
      if (mine !== question) return
      waiting = { ...list, after: before !== null }
      look()
    } catch {
      if (mine === question) publish('failed')
    }
  }

  const keyNow = () => {
    const view = client.getView()
    return Object.keys(view.pipelines)
      .map((name) => listKey(view, name))
      .join(' ')
  }

  const look = () => {
    if (query === null) return
    if (waiting !== null && reached(client.getView(), waiting.position)) {
      listed = waiting.after ? [...listed, ...waiting.runs] : waiting.runs
      next = waiting.next
      waiting = null
      publish('ready')
    } else if (shown.get().state === 'ready') publish('ready')
    if (keyNow() !== key) {
      key = keyNow()
      void load(null)
    }
  }
  client.subscribe(look)

  return {
    get: shown.get,
    subscribe: shown.subscribe,
    ask(wanted) {
      if (query?.pipeline === wanted.pipeline && query.status === wanted.status) return
      query = wanted
      listed = []
      next = null
      waiting = null
      key = keyNow()
      shown.set(LOADING)
      void load(null)
    },
    older: () => void load(next),
  }
}
