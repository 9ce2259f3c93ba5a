/**
 * The shell: one link, one connection, one timer, one view (PROTOCOL §4).
 *
 * Law: `handle` is the only place where the link changes; it does what `step` says and shows what came of it. Nothing
 * else here decides anything.
 */
import { type Clock, systemClock, type Timer } from './clock.ts'
import type { PipelineDocument, RunDocument } from './documents.ts'
import {
  type AcknowledgeBody,
  beginSession,
  type CommandBody,
  type CommandOptions,
  command,
  type Fetch,
  listRuns,
  type Receipt,
  type RunList,
  type RunsQuery,
  type ScheduleBody,
  type StartBody,
  type StopBody,
} from './http.ts'
import { type Action, type Link, type LinkEvent, newLink, step, type Transport, wakeAt } from './link.ts'
import { formatPosition, isBefore, parsePosition } from './position.ts'
import {
  followLog,
  type HistoryPage,
  type LogLine,
  type LogPage,
  type LogQuery,
  type PageQuery,
  readHistory,
  readLog,
  readRun,
} from './reads.ts'
import type { Entry } from './replica.ts'
import {
  type Connection,
  type Listener,
  openEventStream,
  openLongPoll,
  openWebSocket,
  type SocketClass,
} from './transports.ts'
import { reached, type View, viewOf } from './view.ts'

export interface ConnectOptions {
  /** Where the server is; default: the folder of the page. */
  readonly url?: string
  /** `*`, `pipeline:<name>`, `run:<id>`; default: everything. */
  readonly topics?: readonly string[]
  /** `auto`: WebSocket, then event streams, then long-poll; back up again when that works. */
  readonly transport?: 'auto' | Transport
  /** Take patches where the server has them; each is verified, and a wrong one ends that (F10). Default: yes. */
  readonly delta?: boolean
  /** Sent with every request outside a browser; in a browser call `login`, which needs no script to keep it. */
  readonly token?: string
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
  /**
   * Start a run, without a name of the first pipeline. Like every command it is sent again when no answer comes or the
   * server is away for a moment, is done once, and resolves when the view shows it; a view that is stale says so, and
   * nobody waits for it.
   */
  start(pipeline?: string | null, body?: StartBody, options?: CommandOptions): Promise<Receipt>
  stop(runId: string, body?: StopBody, options?: CommandOptions): Promise<Receipt>
  /** Go on with a run that failed or was stopped, from the stage that did not finish. */
  retry(runId: string, options?: CommandOptions): Promise<Receipt>
  /** Change the schedule, or turn it on and off. */
  schedule(pipeline: string, body: ScheduleBody, options?: CommandOptions): Promise<Receipt<PipelineDocument>>
  /** Say that somebody has seen to what blocks the pipeline. */
  acknowledge(pipeline: string, body: AcknowledgeBody, options?: CommandOptions): Promise<Receipt<PipelineDocument>>
  /** Trade a token for a session of this browser, and connect at once. */
  login(token: string): Promise<void>
  listRuns(query?: RunsQuery): Promise<RunList>
  /** The current run of a pipeline, without a name of the first; its status document (version 0) if it never ran. */
  getStatus(pipeline?: string | null): Promise<Entry<RunDocument>>
  /** One run, as it is or as it was at `version`; for runs that the view does not show. */
  getRun(runId: string, version?: number): Promise<Entry<RunDocument>>
  getHistory(runId: string, query?: PageQuery): Promise<HistoryPage>
  getLog(runId: string, query?: LogQuery): Promise<LogPage>
  /** Give lines as they are written; resolves when the run is over or `signal` aborts. */
  followLog(
    runId: string,
    follow: {
      readonly after: number
      readonly signal: AbortSignal
      readonly lines: (lines: readonly LogLine[]) => void
    },
  ): Promise<void>
  /** End the connection for good; the view stays and is stale. */
  close(): void
}

/** Connect to a server, for as long as it takes. */
export function connect(options: ConnectOptions = {}): Client {
  const { topics = ['*'], delta = true, clock = systemClock(), random = Math.random, token } = options
  const root = rootOf(options.url)
  const headers = token === undefined ? null : { authorization: `Bearer ${token}` }
  const plain: Fetch = options.fetch ?? ((url, init) => globalThis.fetch(url, init))
  const fetch: Fetch = (url, init) =>
    plain(url, headers === null ? init : { ...init, headers: { ...init?.headers, ...headers } })
  // Its second argument is typed for browsers, and only given outside them.
  const Socket = options.WebSocket ?? (globalThis.WebSocket as unknown as SocketClass | undefined)
  const wire = { fetch, clock, random }
  const listeners = new Set<() => void>()
  const waiting = new Set<() => void>()
  let link = newLink(transportsOf(options.transport ?? 'auto', Socket !== undefined), { topics, delta })
  let view = viewOf(link, null)
  let least: string | null = null
  const connections = new Map<number, Connection>()
  let timer: Timer | null = null

  function handle(event: LinkEvent): void {
    const [next, actions] = step(link, event, { nowMs: clock.now(), random: random() })
    link = next
    for (const action of actions) perform(action)
    arm()
    const before = view
    view = viewOf(link, before)
    for (const look of [...waiting]) look()
    if (view === before) return
    for (const listener of [...listeners]) tell(listener)
  }

  function perform(action: Action): void {
    switch (action.kind) {
      case 'connect':
        connections.set(action.generation, open(action))
        return
      case 'resync':
        connections
          .get(action.generation)
          ?.send(JSON.stringify({ type: 'subscribe', topics: topics.join(','), ...deltaOf(action.delta) }))
        return
      case 'disconnect':
        connections.get(action.generation)?.close()
        connections.delete(action.generation)
    }
  }

  function open({ generation, transport, resume, delta }: Action & { kind: 'connect' }): Connection {
    const listener: Listener = {
      frame: (frame, retryMs) => handle({ kind: 'received', generation, frame, retryMs }),
      end: (trouble, retryMs) => {
        connections.delete(generation)
        handle({ kind: 'dropped', generation, trouble, retryMs })
      },
    }
    if (transport === 'long-poll') return openLongPoll(fetch, root, listener, { topics, clock })
    const url = new URL(transport === 'sse' ? 'api/stream' : 'api/ws', root)
    const query = { topics: topics.join(','), ...(resume === null ? {} : { resume }), ...deltaOf(delta) }
    url.search = new URLSearchParams(query).toString()
    if (transport === 'sse' || Socket === undefined) return openEventStream(fetch, url, listener)
    return openWebSocket(Socket, url, listener, headers && { headers })
  }

  const at = (...path: readonly string[]) => new URL(`api/${path.map(encodeURIComponent).join('/')}`, root)

  async function order<Document>(
    path: readonly string[],
    body: CommandBody,
    more?: Parameters<typeof command>[3],
  ): Promise<Receipt<Document>> {
    const receipt = await command<Document>(wire, at(...path), body, more)
    least = later(least, receipt.position)
    await shown(receipt.position)
    return receipt
  }

  /** Resolves once the view shows `position`, or is not current and says so. */
  function shown(position: string): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (isCurrent(link) && !reached(view, position)) return
        waiting.delete(look)
        resolve()
      }
      waiting.add(look)
      look()
    })
  }

  /** A read of what changes is not older than the last command (H4). */
  const now = (...path: readonly string[]): URL => {
    const url = at(...path)
    if (least !== null) url.searchParams.set('min', least)
    return url
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
    start: (pipeline = null, body = {}, options) => order([...pathOf(pipeline), 'start'], body, options),
    stop: (runId, body = {}, options) => order(['runs', runId, 'stop'], body, options),
    retry: (runId, options) => order(['runs', runId, 'retry'], {}, options),
    schedule: (pipeline, body, options) =>
      order(['pipelines', pipeline, 'schedule'], body, { ...options, method: 'PUT' }),
    acknowledge: (pipeline, body, options) => order(['pipelines', pipeline, 'acknowledge'], body, options),
    login: async (secret) => {
      await beginSession(fetch, at('session'), secret)
      handle({ kind: 'retry' })
    },
    listRuns: (query = {}) => listRuns(fetch, now('runs'), query),
    getStatus: (pipeline = null) => readRun(fetch, now(...pathOf(pipeline), 'status')),
    getRun: (id, version) =>
      readRun(fetch, version === undefined ? now('runs', id) : at('runs', id, 'versions', String(version))),
    getHistory: (id, query = {}) => readHistory(fetch, now('runs', id, 'history'), query),
    getLog: (id, query = {}) => readLog(fetch, at('runs', id, 'logs'), query),
    followLog: (id, follow) => followLog(fetch, at('runs', id, 'logs'), follow),
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

/** Without a name the first pipeline, as in PROTOCOL H1 and §5. */
function pathOf(pipeline: string | null): readonly string[] {
  return pipeline === null ? ['pipeline'] : ['pipelines', pipeline]
}

function isCurrent({ state, replica }: Link): boolean {
  return state !== 'connecting' && state !== 'stale' && replica.position !== null
}

/** F13: the best first. */
function transportsOf(wanted: 'auto' | Transport, hasSocket: boolean): Link['transports'] {
  if (wanted !== 'auto' && (wanted !== 'websocket' || hasSocket)) return [wanted]
  return hasSocket ? ['websocket', 'sse', 'long-poll'] : ['sse', 'long-poll'] // Node 20 has no WebSocket of its own
}

/** H4: what is read after a command is not older than it. */
function later(known: string | null, position: string): string {
  const [one, other] = [known === null ? null : parsePosition(known), parsePosition(position)]
  return one !== null && (other === null || isBefore(other, one)) ? formatPosition(one) : position
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
