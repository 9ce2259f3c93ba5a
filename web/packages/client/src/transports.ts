/**
 * The two ways to a stream of frames, in browsers and in Node (PROTOCOL §4).
 *
 * Law: a transport moves text and holds no rule. It reports each message and, once, its end; the end is always reported
 * later than the call that opened it.
 */
import type { Json } from './documents.ts'
import { parseTrouble, type Trouble } from './frames.ts'
import type { Fetch } from './http.ts'
import { feed, newSseDecoder } from './sse.ts'

/** What of a WebSocket is used; the browser's, Node's and that of `ws` all are one. */
export interface Socket {
  send(text: string): void
  close(): void
  addEventListener(type: 'message', listener: (event: { readonly data: unknown }) => void): void
  addEventListener(type: 'close' | 'error', listener: () => void): void
}

export type SocketClass = new (url: string) => Socket

export interface Listener {
  message(text: string, retryMs: number): void
  end(trouble: Trouble | null, retryMs: number): void
}

export interface Connection {
  /** Send text; an event stream cannot, and nobody asks it to. */
  send(text: string): void
  close(): void
}

/** Open a WebSocket. */
export function openWebSocket(Socket: SocketClass, url: URL, listener: Listener): Connection {
  const address = new URL(url)
  address.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  const end = once(() => listener.end(null, 0))
  let socket: Socket
  try {
    socket = new Socket(address.href)
  } catch {
    queueMicrotask(end) // a browser refuses some addresses at once
    return { send: () => undefined, close: () => undefined }
  }
  // F1: frames are text, so anything else is as unreadable as no JSON at all.
  socket.addEventListener('message', ({ data }) => listener.message(typeof data === 'string' ? data : '', 0))
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
  if (response === null || !response.ok || response.body === null) {
    const body = response === null ? null : await orNull(response.json() as Promise<Json>)
    const seconds = Number(response?.headers.get('retry-after') ?? 0)
    listener.end(parseTrouble(body, response?.status ?? 0), Number.isFinite(seconds) ? seconds * 1000 : 0)
    return
  }
  const reader = response.body.getReader()
  let decoder = newSseDecoder
  for (let read = await orNull(reader.read()); read !== null && !read.done; read = await orNull(reader.read())) {
    const [next, events] = feed(decoder, read.value)
    decoder = next
    for (const { data } of events) listener.message(data, decoder.retryMs ?? 0)
  }
  listener.end(null, decoder.retryMs ?? 0)
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
