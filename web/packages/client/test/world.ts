/** A world for the shell: time that moves when told, sockets and answers that a test plays. */
import type { Clock } from '../src/clock.ts'
import type { Fetch } from '../src/http.ts'
import type { Socket, SocketClass } from '../src/transports.ts'

export interface ManualClock extends Clock {
  /** Move time on, calling each timer at its time. */
  advance(ms: number): void
}

export function manualClock(): ManualClock {
  let now = 1_000_000
  let timers: readonly { readonly at: number; readonly call: () => void }[] = []
  const next = (until: number) => timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0]
  return {
    now: () => now,
    setTimeout: (call, delayMs) => {
      const timer = { at: now + delayMs, call }
      timers = [...timers, timer]
      return timer
    },
    clearTimeout: (cleared) => {
      timers = timers.filter((timer) => timer !== cleared)
    },
    advance: (ms) => {
      const until = now + ms
      for (let timer = next(until); timer !== undefined; timer = next(until)) {
        const due = timer
        timers = timers.filter((other) => other !== due)
        now = due.at
        due.call()
      }
      now = until
    },
  }
}

export interface PlayedSocket {
  readonly url: string
  readonly sent: string[]
  closed: boolean
  say(frame: unknown): void
  drop(): void
}

/** Return a WebSocket class, and the sockets that were made of it. */
export function playedSockets(): { readonly Socket: SocketClass; readonly sockets: PlayedSocket[] } {
  const sockets: PlayedSocket[] = []
  class Played implements Socket, PlayedSocket {
    readonly url: string
    readonly sent: string[] = []
    closed = false
    readonly #messages: ((event: { data: unknown }) => void)[] = []
    readonly #ends: (() => void)[] = []

    constructor(url: string) {
      this.url = url
      sockets.push(this)
    }
    send(text: string): void {
      this.sent.push(text)
    }
    close(): void {
      this.closed = true
    }
    addEventListener(type: string, listener: (event: { data: unknown }) => void): void {
      if (type === 'message') this.#messages.push(listener)
      else this.#ends.push(() => listener({ data: null }))
    }
    say(frame: unknown): void {
      for (const tell of this.#messages) tell({ data: typeof frame === 'string' ? frame : JSON.stringify(frame) })
    }
    drop(): void {
      for (const tell of this.#ends) tell()
    }
  }
  return { Socket: Played, sockets }
}

export interface Asked {
  readonly url: string
  readonly init: RequestInit | undefined
  answer(response: Response): void
  fail(): void
}

/** Return a fetch whose answers a test gives, and what was asked of it. */
export function playedFetch(): { readonly fetch: Fetch; readonly asked: Asked[] } {
  const asked: Asked[] = []
  const fetch: Fetch = (url, init) =>
    new Promise((answer, reject) => {
      asked.push({ url, init, answer, fail: () => reject(new TypeError('network')) })
    })
  return { fetch, asked }
}

/** Return an event stream's answer and the pen to write it with. */
export function eventStream(): { readonly response: Response; write(text: string): void; end(): void } {
  const encoder = new TextEncoder()
  let pen: ReadableStreamDefaultController<Uint8Array> | undefined
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      pen = controller
    },
  })
  return {
    response: new Response(body, { headers: { 'content-type': 'text/event-stream' } }),
    write: (text) => pen?.enqueue(encoder.encode(text)),
    end: () => pen?.close(),
  }
}
