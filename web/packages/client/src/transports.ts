/**
 * The three ways to frames, in browsers and in Node: WebSocket, event stream, plain answers (PROTOCOL §4, F13).
 *
 * Law: a transport moves text and holds no rule. It reports each frame and, once, its end; the end is always reported
 * later than the call that opened it, and nothing after `close`.
 */
import type { Clock } from './clock.ts'
import type { Json } from './documents.ts'
import { type Frame, parseFrame, parseTrouble, type Trouble } from './frames.ts'
import { type Fetch, retryAfterOf } from './http.ts'
import { type Answer, type Ask, newPoll, roundOf, take } from './poll.ts'
import { formatPosition } from './position.ts'
import { feed, newSseDecoder } from './sse.ts'

/** What of a WebSocket is used; the browser's, Node's and that of `ws` all are one. */
export interface Socket {
  send(text: string): void
  close(): void
  addEventListener(type: 'message', listener: (event: { readonly data: unknown }) => void): void
  addEventListener(type: 'close' | 'error', listener: () => void): void
}

/** A second argument is given only with a token: Node's and that of `ws` take `headers` there, a browser's refuses it. */
export type SocketClass = new (url: string, options?: SocketOptions) => Socket

export interface SocketOptions {
  readonly headers: Readonly<Record<string, string>>
}

export interface Listener {
  frame(frame: Frame, retryMs: number): void
  end(trouble: Trouble | null, retryMs: number): void
}

export interface Connection {
  /** Send text; an event stream cannot, and nobody asks it to. */
  send(text: string): void
  close(): void
}

/** Open a WebSocket. */
export function openWebSocket(
  Socket: SocketClass,
  url: URL,
  listener: Listener,
  options: SocketOptions | null,
): Connection {
  const address = new URL(url)
  address.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  const end = once(() => listener.end(null, 0))
  let socket: Socket
  try {
    socket = options === null ? new Socket(address.href) : new Socket(address.href, options)
  } catch {
    queueMicrotask(end) // a browser refuses some addresses at once
    return { send: () => undefined, close: () => undefined }
  }
  // F1: frames are text, so anything else is as unreadable as no JSON at all.
  socket.addEventListener('message', ({ data }) => listener.frame(parseFrame(typeof data === 'string' ? data : ''), 0))
  socket.addEventListener('close', end)
  socket.addEventListener('error', end)
  return { send: (text) => socket.send(text), close: () => socket.close() }
}

/** Open an event stream, by fetch: `EventSource` would reconnect by rules of its own. */
export function openEventStream(fetch: Fetch, url: URL, listener: Listener): Connection {
  const aborter = new AbortController()
  void follow(fetch, url, aborter.signal, listener)
  return { send: () => undefined, close: () => aborter.abort() }
}

async function follow(fetch: Fetch, url: URL, signal: AbortSignal, listener: Listener): Promise<void> {
  const response = await orNull(
    fetch(url.href, { headers: { accept: 'text/event-stream' }, cache: 'no-store', signal }),
  )
  if (response === null || !response.ok || response.body === null) return refused(response, listener)
  const reader = response.body.getReader()
  let decoder = newSseDecoder
  for (let read = await orNull(reader.read()); read !== null && !read.done; read = await orNull(reader.read())) {
    const [next, events] = feed(decoder, read.value)
    decoder = next
    for (const { data } of events) listener.frame(parseFrame(data), decoder.retryMs ?? 0)
  }
  listener.end(null, decoder.retryMs ?? 0)
}

/** Ask and ask again, by fetch; `root` is the server's base. */
export function openLongPoll(
  fetch: Fetch,
  root: URL,
  listener: Listener,
  { topics, clock }: { readonly topics: readonly string[]; readonly clock: Clock },
): Connection {
  const aborter = new AbortController()
  void poll(fetch, root, aborter.signal, listener, { topics, clock })
  return { send: () => undefined, close: () => aborter.abort() }
}

async function poll(
  fetch: Fetch,
  root: URL,
  signal: AbortSignal,
  listener: Listener,
  { topics, clock }: { readonly topics: readonly string[]; readonly clock: Clock },
): Promise<void> {
  let state = newPoll(topics)
  while (!state.hasEnded && !signal.aborted) {
    const { asks, pauseMs } = roundOf(state)
    if (pauseMs > 0) await pause(clock, pauseMs, signal)
    const began = clock.now()
    const responses = await Promise.all(asks.map((ask) => orNull(get(fetch, root, ask, signal))))
    const bad = responses.find((response) => response === null || ![200, 304].includes(response.status))
    if (bad !== undefined) return refused(bad, listener)
    const answers = await orNull(Promise.all(responses.map((response, at) => answerOf(response, asks[at]))))
    if (answers === null) break
    if (signal.aborted) return
    const [next, frames] = take(state, answers, clock.now() - began)
    state = next
    for (const frame of frames) listener.frame(frame, 0)
  }
  listener.end(null, 0)
}

function get(fetch: Fetch, root: URL, { path, after, least, waitS }: Ask, signal: AbortSignal): Promise<Response> {
  const url = new URL(path.map(encodeURIComponent).join('/'), root)
  if (after !== null) url.searchParams.set('after', formatPosition(after))
  if (least !== null) url.searchParams.set('min', formatPosition(least))
  if (waitS > 0) url.searchParams.set('wait', String(waitS))
  return fetch(url.href, { cache: 'no-store', signal })
}

async function answerOf(response: Response | null, ask: Ask | undefined): Promise<Answer> {
  if (response === null || ask === undefined) throw new TypeError('each request has its answer')
  const { status, headers } = response
  const told = { tag: headers.get('etag'), proof: headers.get('repr-digest'), head: headers.get('runstate-position') }
  return { path: ask.path, body: status === 304 ? null : await response.text(), ...told }
}

function pause(clock: Clock, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.setTimeout(resolve, ms)
    signal.addEventListener('abort', () => {
      clock.clearTimeout(timer)
      resolve()
    })
  })
}

/** Tell what was answered instead; null: nothing. */
async function refused(response: Response | null, listener: Listener): Promise<void> {
  const body = response === null ? null : await orNull(response.json() as Promise<Json>)
  listener.end(parseTrouble(body, response?.status ?? 0), retryAfterOf(response))
}

/** A network that fails is an end like any other. */
async function orNull<Value>(promise: Promise<Value>): Promise<Value | null> {
  try {
    return await promise
  } catch {
    return null
  }
}

function once(call: () => void): () => void {
  let called = false
  return () => {
    if (!called) call()
    called = true
  }
}
