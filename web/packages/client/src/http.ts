/**
 * Commands and reads over HTTP (PROTOCOL §3, §5).
 *
 * Law: an answer goes to its caller and nowhere else (F11): only the stream writes the store. Whoever sent a command
 * waits until the view has reached the receipt's position.
 */
import { isObject } from './canonical.ts'
import type { Json, JsonObject, RunDocument } from './documents.ts'
import { parsePosition } from './position.ts'
import { ProblemError, problemOf } from './problem.ts'

export type Fetch = (url: string, init?: RequestInit) => Promise<Response>

export interface StartBody {
  readonly metadata?: Readonly<Record<string, Json>>
  readonly stages?: readonly string[]
}

export interface StopBody {
  readonly reason?: string
}

export interface Receipt {
  /** Where the command's commit stands. */
  readonly position: string
  /** The document after the commit. */
  readonly document: RunDocument
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

/** Send a command and return its receipt; rejects with ProblemError. */
export async function command(fetch: Fetch, url: URL, body: StartBody | StopBody): Promise<Receipt> {
  const headers = { 'content-type': 'application/json' }
  const [response, document] = await request(fetch, url, { method: 'POST', headers, body: JSON.stringify(body) })
  const tags = [response.headers.get('etag')?.replace(/^W\//, '').replaceAll('"', '')]
  const position = [...tags, response.headers.get('runstate-position')].find((tag) => tag && parsePosition(tag))
  if (!position) throw bad(response.status, 'the answer to the command names no position')
  return { position, document: document as unknown as RunDocument } // C1: the body of a 202 is the document
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

async function request(fetch: Fetch, url: URL, init: RequestInit): Promise<readonly [Response, JsonObject]> {
  const { response, body } = await answer(fetch, url, init)
  if (!response.ok) throw new ProblemError(problemOf(body, response.status))
  if (!isObject(body)) throw bad(response.status, 'the answer is not a JSON object')
  return [response, body]
}

async function answer(fetch: Fetch, url: URL, init: RequestInit): Promise<{ response: Response; body: Json }> {
  let response: Response
  let text: string
  try {
    response = await fetch(url.href, { ...init, cache: 'no-store' })
    text = await response.text()
  } catch (cause) {
    const detail = `the server at ${url.host} does not answer`
    throw new ProblemError({ status: 0, code: 'unreachable', detail }, { cause })
  }
  return { response, body: parsed(text) }
}

function parsed(text: string): Json {
  try {
    return JSON.parse(text)
  } catch {
    return null // a proxy's page; `problemOf` says so
  }
}

function bad(status: number, detail: string): ProblemError {
  return new ProblemError({ status, code: 'bad_answer', detail })
}
