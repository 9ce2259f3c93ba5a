/**
 * Commands and reads over HTTP (PROTOCOL §3, §5).
 *
 * Law: an answer goes to its caller and nowhere else (F11): only the stream writes the store. Whoever sent a command
 * waits until the view has reached the receipt's position (`client.ts`). A command has a key of its own, so that sending it again
 * cannot do it twice (C3).
 */
import { bytesToHex } from '@noble/hashes/utils.js'
import { isObject } from './canonical.ts'
import type { Clock } from './clock.ts'
import type { Json, JsonObject, RunDocument } from './documents.ts'
import { parsePosition } from './position.ts'
import { ProblemError, problemOf } from './problem.ts'
import { retryInMs } from './retry.ts'

export type Fetch = (url: string, init?: RequestInit) => Promise<Response>

export interface StartBody {
  readonly metadata?: Readonly<Record<string, Json>>
  readonly stages?: readonly string[]
  /** Start although the pipeline's run policy would rather not. */
  readonly override?: boolean
}

/** What a person may change of a schedule; what is left out stays. */
export interface ScheduleBody {
  readonly cron?: string
  readonly tz?: string
  readonly enabled?: boolean
  readonly missed?: 'skip' | 'run_once'
  readonly overlap?: 'skip' | 'queue'
}

export interface AcknowledgeBody {
  readonly reason: string
}

export type CommandBody = StartBody | StopBody | ScheduleBody | AcknowledgeBody

export interface StopBody {
  readonly reason?: string
}

export interface CommandOptions {
  /** Only if the document still stands at this position; else the problem is `conflict` (C2). */
  readonly ifMatch?: string
}

export interface Receipt<Document = RunDocument> {
  /** Where the command's commit stands. */
  readonly position: string
  /** The document after the commit: a run's, or the pipeline's whose schedule or health it is about. */
  readonly document: Document
}

export interface RunsQuery {
  readonly pipeline?: string
  readonly status?: string
  readonly state?: string
  readonly limit?: number
  /** `next` of the page before. */
  readonly before?: string
}

export interface RunList {
  readonly position: string
  readonly runs: readonly RunDocument[]
  readonly next: string | null
}

/** What a request needs of the client that makes it. */
export interface Wire {
  readonly fetch: Fetch
  readonly clock: Clock
  readonly random: () => number
}

/** Send a command, again if need be, and return its receipt; rejects with ProblemError. */
export async function command<Document>(
  wire: Wire,
  url: URL,
  body: CommandBody,
  { ifMatch, method = 'POST' }: CommandOptions & { readonly method?: 'POST' | 'PUT' } = {},
): Promise<Receipt<Document>> {
  const named = { 'content-type': 'application/json', 'idempotency-key': newKey() }
  const headers = ifMatch === undefined ? named : { ...named, 'if-match': `"${ifMatch}"` }
  const [response, document] = await send(wire, url, { method, headers, body: JSON.stringify(body) })
  const tags = [response.headers.get('etag')?.replace(/^W\//, '').replaceAll('"', '')]
  const position = [...tags, response.headers.get('runstate-position')].find((tag) => tag && parsePosition(tag))
  if (!position) throw bad(response.status, 'the answer to the command names no position')
  return { position, document: document as unknown as Document } // C1: the body of a 202 is the document
}

async function send({ fetch, clock, random }: Wire, url: URL, init: RequestInit) {
  for (let retries = 0; ; retries++) {
    try {
      return await request(fetch, url, init)
    } catch (error) {
      if (!(error instanceof ProblemError)) throw error
      const { problem, retryAfterMs } = error
      const status = problem.code === 'unreachable' ? null : problem.status
      const waitMs = retryInMs(retries, { status, retryAfterMs, random: random() })
      if (waitMs === null) throw error
      await new Promise<void>((resolve) => void clock.setTimeout(resolve, waitMs))
    }
  }
}

/** A page without https has no `crypto.randomUUID`. */
function newKey(): string {
  return bytesToHex(crypto.getRandomValues(new Uint8Array(16)))
}

/** Trade a token for the cookie that a browser sends from now on (PROTOCOL §6); rejects with ProblemError. */
export async function beginSession(fetch: Fetch, url: URL, token: string): Promise<void> {
  const headers = { 'content-type': 'application/json' }
  const { response, body } = await answer(fetch, url, { method: 'POST', headers, body: JSON.stringify({ token }) })
  if (!response.ok) throw new ProblemError(problemOf(body, response.status))
}

/** Return one page of runs; rejects with ProblemError. */
export async function listRuns(fetch: Fetch, url: URL, query: RunsQuery): Promise<RunList> {
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) url.searchParams.set(name, String(value))
  }
  const [response, list] = await request(fetch, url, {})
  if (typeof list.position !== 'string' || !Array.isArray(list.runs))
    throw bad(response.status, 'this is no list of runs')
  const next = list.next === null || list.next === undefined ? null : String(list.next)
  return { position: list.position, runs: list.runs, next } // H7
}

/** Return a JSON object and how it came; rejects with ProblemError. */
export async function request(fetch: Fetch, url: URL, init: RequestInit): Promise<readonly [Response, JsonObject]> {
  const { response, body } = await answer(fetch, url, init)
  if (!response.ok) throw refusal(response, body)
  if (!isObject(body)) throw bad(response.status, 'the answer is not a JSON object')
  return [response, body]
}

/** Return what an answer says of why it is none. */
export function refusal(response: Response, body: Json): ProblemError {
  return new ProblemError(problemOf(body, response.status), { retryAfterMs: retryAfterOf(response) })
}

/** Return whatever was answered; `body` is null where it is no JSON. */
export async function answer(
  fetch: Fetch,
  url: URL,
  init: RequestInit,
  cache: RequestCache = 'no-store',
): Promise<{ response: Response; text: string; body: Json }> {
  let response: Response
  let text: string
  try {
    response = await fetch(url.href, { ...init, cache })
    text = await response.text()
  } catch (cause) {
    const detail = `the server at ${url.host} does not answer`
    throw new ProblemError({ status: 0, code: 'unreachable', detail }, { cause })
  }
  return { response, text, body: parsed(text) }
}

/** Return what `Retry-After` asks for in milliseconds; 0 for a date, which no server of ours sends. */
export function retryAfterOf(response: Response | null): number {
  const seconds = Number(response?.headers.get('retry-after') ?? 0)
  return Number.isFinite(seconds) ? Math.max(0, seconds * 1000) : 0
}

function parsed(text: string): Json {
  try {
    return JSON.parse(text)
  } catch {
    return null // a proxy's page; `problemOf` says so
  }
}

/** Return the error of an answer that is none of runstate's. */
export function bad(status: number, detail: string): ProblemError {
  return new ProblemError({ status, code: 'bad_answer', detail })
}
