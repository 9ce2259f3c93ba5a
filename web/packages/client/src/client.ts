/**
 * The shell: one link, one connection, one timer, one view (PROTOCOL §4).
 *
 * Law: `handle` is the only place where the link changes; it does what `step` says and shows what came of it. Nothing
 * else here decides anything.
 */
import { type Clock, systemClock, type Timer } from './clock.ts'
import { parseFrame } from './frames.ts'
import {
  command,
  type Fetch,
  listRuns,
  type Receipt,
  type RunList,
  type RunsQuery,
  type StartBody,
  type StopBody,
} from './http.ts'
import { type Action, type Link, type LinkEvent, newLink, step, type Transport, wakeAt } from './link.ts'
import { type Connection, type Listener, openEventStream, openWebSocket, type SocketClass } from './transports.ts'
import { type View, viewOf } from './view.ts'

export interface ConnectOptions {
  /** Where the server is; default: the folder of the page. */
  readonly url?: string
  /** `*`, `pipeline:<name>`, `run:<id>`; default: everything. */
  readonly topics?: readonly string[]
  readonly transport?: 'auto' | Transport
  /** Ask for patches instead of whole documents; default: no. */
  readonly delta?: boolean
  readonly clock?: Clock
  /** Drawn evenly from [0, 1). */
  readonly random?: () => number
  readonly fetch?: Fetch
  readonly WebSocket?: SocketClass
}

export interface Client {
  /** The view now; the same value until something changed. */
  getView(): View
  /** Call `listener` after each change; returns how to stop that. */
  subscribe(listener: () => void): () => void
  start(pipeline: string, body?: StartBody): Promise<Receipt>
  stop(runId: string, body?: StopBody): Promise<Receipt>
  listRuns(query?: RunsQuery): Promise<RunList>
  /** End the connection for good; the view stays and is stale. */
  close(): void
}

/** Connect to a server, for as long as it takes. */
export function connect(options: ConnectOptions = {}): Client {
  const { topics = ['*'], delta = false, clock = systemClock(), random = Math.random } = options
  const root = rootOf(options.url)
  const fetch: Fetch = options.fetch ?? ((url, init) => globalThis.fetch(url, init))
  const Socket: SocketClass | undefined = options.WebSocket ?? globalThis.WebSocket
  const listeners = new Set<() => void>()
  let link = newLink(transportsOf(options.transport ?? 'auto', Socket !== undefined), { topics, delta })
  let view = viewOf(link, null)
  let connection: Connection | null = null
  let timer: Timer | null = null

  function handle(event: LinkEvent): void {
    const [next, actions] = step(link, event, { nowMs: clock.now(), random: random() })
    link = next
    for (const action of actions) perform(action)
    arm()
    const shown = viewOf(link, view)
    if (shown === view) return
    view = shown
    for (const listener of [...listeners]) tell(listener)
  }

  function perform(action: Action): void {
    switch (action.kind) {
      case 'connect':
        connection = open(action)
        return
      case 'resync':
        connection?.send(JSON.stringify({ type: 'subscribe', topics: topics.join(','), ...deltaOf(action.delta) }))
        return
      case 'disconnect':
        connection?.close()
        connection = null
    }
  }

  function open({ generation, transport, resume, delta }: Action & { kind: 'connect' }): Connection {
    const listener: Listener = {
      message: (text, retryMs) => handle({ kind: 'received', generation, frame: parseFrame(text), retryMs }),
      end: (trouble, retryMs) => handle({ kind: 'dropped', generation, trouble, retryMs }),
    }
    const url = new URL(transport === 'sse' ? 'api/stream' : 'api/ws', root)
    const query = { topics: topics.join(','), ...(resume === null ? {} : { resume }), ...deltaOf(delta) }
    url.search = new URLSearchParams(query).toString()
    if (transport === 'sse' || Socket === undefined) return openEventStream(fetch, url, listener)
    return openWebSocket(Socket, url, listener)
  }

  function arm(): void {
    if (timer !== null) clock.clearTimeout(timer)
    const at = wakeAt(link)
    timer = at === null ? null : clock.setTimeout(() => handle({ kind: 'tick' }), Math.max(0, at - clock.now()))
  }

  handle({ kind: 'start' })
  return {
    getView: () => view,
    subscribe: (listener) => {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    start: (pipeline, body = {}) =>
      command(fetch, new URL(`api/pipelines/${encodeURIComponent(pipeline)}/start`, root), body),
    stop: (runId, body = {}) => command(fetch, new URL(`api/runs/${encodeURIComponent(runId)}/stop`, root), body),
    listRuns: (query = {}) => listRuns(fetch, new URL('api/runs', root), query),
    close: () => handle({ kind: 'stop' }),
  }
}

function rootOf(url: string | undefined): URL {
  if (url === undefined && globalThis.document === undefined) {
    throw new TypeError('outside a browser connect() needs a url, such as http://127.0.0.1:8642')
  }
  const root = new URL(url ?? new URL('.', document.baseURI))
  if (!root.pathname.endsWith('/')) root.pathname += '/'
  return root
}

/** F13: WebSocket, then event streams; long-poll will join as the last resort. */
function transportsOf(wanted: 'auto' | Transport, hasSocket: boolean): Link['transports'] {
  if (wanted === 'sse' || !hasSocket) return ['sse'] // Node 20 has no WebSocket of its own
  return wanted === 'websocket' ? ['websocket'] : ['websocket', 'sse']
}

function deltaOf(delta: boolean): { delta?: string } {
  return delta ? { delta: '1' } : {}
}

/** A listener that throws is its owner's trouble: the others are told all the same. */
function tell(listener: () => void): void {
  try {
    listener()
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}
