/**
 * Reads beside the stream: one run, its versions, its history, its log (PROTOCOL H1, H5, H6, H8).
 *
 * Law: as in http.ts, an answer goes to its caller and never into the store (F11).
 */
import { digest } from './canonical.ts'
import type { Json, JsonObject, RunDocument } from './documents.ts'
import { answer, bad, type Fetch, refusal, request } from './http.ts'
import { parsePosition } from './position.ts'
import type { Entry } from './replica.ts'
import { feed, newSseDecoder } from './sse.ts'

export interface PatchOperation {
  readonly op: 'add' | 'replace' | 'remove'
  readonly path: string
  readonly value?: Json
}

/** One step of a run's history. */
export interface Commit {
  readonly version: number
  readonly position: string
  readonly at: string
  readonly cause: Json
  readonly old_state: string
  readonly new_state: string
  /** Of the document at `version`. */
  readonly digest: string
  /** From the version before; null for the first. */
  readonly patch: readonly PatchOperation[] | null
}

export interface HistoryPage {
  /** The oldest version that the server still has. */
  readonly floor: number
  readonly head: number
  readonly commits: readonly Commit[]
}

export interface LogLine {
  /** The line's number in the run, from 1; never means another line. */
  readonly offset: number
  readonly at: string
  /** null: not a line of a stage but what stands where lines are missing. */
  readonly stage: string | null
  readonly attempt: number
  readonly level: string
  readonly text: string
  /** The lines that are missing here. */
  readonly gap?: { readonly first: number; readonly last: number }
}

export interface LogPage {
  /** The oldest line that the server still has. */
  readonly first: number
  readonly next: number
  readonly lines: readonly LogLine[]
}

export interface PageQuery {
  /** Begin after this version of a history, or this offset of a log. */
  readonly after?: number
  readonly limit?: number
}

export interface LogQuery extends PageQuery {
  /** Leave out the lines of other stages. */
  readonly stage?: string
  /** The last so many lines; without `after` and `limit`. */
  readonly tail?: number
}

/** Return the run at `url`, as it is or as it was, and whether its digest is that of the bytes that came. */
export async function readRun(fetch: Fetch, url: URL): Promise<Entry<RunDocument>> {
  const { response, text, body } = await answer(fetch, url, {}, 'default')
  if (!response.ok) throw refusal(response, body)
  const position = response.headers.get('etag')?.replace(/^W\//, '').replaceAll('"', '') ?? ''
  const document = body as unknown as RunDocument
  if (parsePosition(position) === null || typeof document?.version !== 'number') {
    throw bad(response.status, 'the answer is no document with its position')
  }
  const proof = response.headers.get('repr-digest')
  const own = digest(text)
  return { document, version: document.version, position, digest: own, verified: proof === reprOf(own) }
}

/** Return one page of a run's history; oldest first. */
export async function readHistory(fetch: Fetch, url: URL, query: PageQuery): Promise<HistoryPage> {
  const [response, page] = await request(fetch, asking(url, query), {})
  if (typeof page.head !== 'number' || !Array.isArray(page.commits)) throw bad(response.status, 'this is no history')
  return page as unknown as HistoryPage
}

/** Return one page of a run's log. */
export async function readLog(fetch: Fetch, url: URL, query: LogQuery): Promise<LogPage> {
  const [response, page] = await request(fetch, asking(url, query), {})
  if (typeof page.next !== 'number' || !Array.isArray(page.lines)) throw bad(response.status, 'this is no log')
  return page as unknown as LogPage
}

/** Call `lines` with what is written from now on; resolves when the server ends it or `signal` does. */
export async function followLog(
  fetch: Fetch,
  url: URL,
  { after, signal, lines }: { after: number; signal: AbortSignal; lines: (lines: readonly LogLine[]) => void },
): Promise<void> {
  const asked = asking(url, { after })
  asked.searchParams.set('follow', '1')
  const response = await fetch(asked.href, { headers: { accept: 'text/event-stream' }, cache: 'no-store', signal })
  if (!response.ok || response.body === null) throw refusal(response, null)
  const reader = response.body.getReader()
  let decoder = newSseDecoder
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    const [next, events] = feed(decoder, read.value)
    decoder = next
    const heard = events.map(({ data }) => JSON.parse(data) as JsonObject).filter((line) => 'offset' in line)
    if (heard.length > 0) lines(heard as unknown as readonly LogLine[])
  }
}

function asking(url: URL, query: LogQuery): URL {
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) url.searchParams.set(name, String(value))
  }
  return url
}

/** RFC 9530 writes in base64 what a document's digest has in hex. */
function reprOf(own: string): string {
  const hex = own.slice('sha-256:'.length)
  const bytes = hex.replace(/../g, (pair) => String.fromCharCode(Number.parseInt(pair, 16)))
  return `sha-256=:${btoa(bytes)}:`
}
