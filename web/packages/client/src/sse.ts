/**
 * Server-sent events as runstate speaks them (PROTOCOL F7): events out of bytes, wherever the network cut them.
 *
 * Law: a line ends at LF and nowhere else; JSON may hold U+2028, U+2029 and U+0085 raw. The decoder is a value.
 */
const LF = 0x0a

export interface SseEvent {
  readonly data: string
  /** The last event id so far, null before the first. */
  readonly id: string | null
}

export interface SseDecoder {
  readonly lastId: string | null
  /** The last `retry` the server sent, in milliseconds. */
  readonly retryMs: number | null
  /** The first line is behind us, so a byte order mark would be text. */
  readonly begun: boolean
  /** The line that has not ended yet. */
  readonly rest: Uint8Array
  /** `data` lines of the event that has not ended yet. */
  readonly data: readonly string[] | null
  readonly pendingId: string | null
}

/** Where every stream begins. */
export const newSseDecoder: SseDecoder = {
  lastId: null,
  retryMs: null,
  begun: false,
  rest: new Uint8Array(),
  data: null,
  pendingId: null,
}

/** Return the decoder after `received`, and the events that ended in it. */
export function feed(before: SseDecoder, received: Uint8Array): [SseDecoder, readonly SseEvent[]] {
  const bytes = new Uint8Array(before.rest.length + received.length)
  bytes.set(before.rest)
  bytes.set(received, before.rest.length)
  const events: SseEvent[] = []
  let decoder = before
  let start = 0
  for (let end = bytes.indexOf(LF); end >= 0; end = bytes.indexOf(LF, start)) {
    const line = textOf(bytes.subarray(start, end), decoder.begun)
    start = end + 1
    if (line !== '') {
      decoder = { ...field(decoder, line), begun: true }
      continue
    }
    if (decoder.data !== null) events.push({ data: decoder.data.join('\n'), id: decoder.pendingId })
    decoder = { ...decoder, begun: true, data: null, lastId: decoder.pendingId }
  }
  return [{ ...decoder, rest: bytes.slice(start) }, events]
}

function textOf(line: Uint8Array, begun: boolean): string {
  // `ignoreBOM: true` keeps a byte order mark as text, which is what it is after the first line.
  return new TextDecoder('utf-8', { ignoreBOM: begun }).decode(line)
}

function field(decoder: SseDecoder, line: string): SseDecoder {
  const colon = line.indexOf(':')
  const name = colon < 0 ? line : line.slice(0, colon)
  const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '')
  if (name === 'data') return { ...decoder, data: [...(decoder.data ?? []), value] }
  if (name === 'id' && !value.includes('\0')) return { ...decoder, pendingId: value }
  if (name === 'retry' && /^[0-9]{1,15}$/.test(value)) return { ...decoder, retryMs: Number(value) }
  return decoder // a comment, or a field that nobody defined
}
