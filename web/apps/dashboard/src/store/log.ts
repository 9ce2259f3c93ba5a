/**
 * The log of one run, from its beginning to what is written now.
 *
 * Law: read on after the last offset one has, page by page, then follow; whatever ends the following, it goes on from
 * there. Nothing is read while nobody looks.
 */
import type { Client, LogLine } from '@runstate/client'
import { type Row, withLines } from '../model/log.ts'
import { type Readable, writable } from './observable.ts'

export interface Log {
  readonly rows: readonly Row[]
  readonly state: 'loading' | 'following' | 'ended' | 'failed'
}

const PAGE = 10_000
const PATIENCE_MS = 2_000
/** Lines come one by one and are shown together. */
const GATHER_MS = 80

/** Return the log of run `id`; it is read while somebody subscribes. `isOver` tells that nothing will follow. */
export function createLog(client: Client, id: string, isOver: () => boolean): Readable<Log> {
  const log = writable<Log>({ rows: [], state: 'loading' })
  let next = 0
  let watchers = 0
  let aborter = new AbortController()

  const add = (lines: readonly LogLine[], state: Log['state']) => {
    if (lines.length === 0 && state === log.get().state) return
    log.set({ rows: lines.length === 0 ? log.get().rows : withLines(log.get().rows, lines), state })
  }

  const catchUp = async (signal: AbortSignal) => {
    for (;;) {
      const page = await client.getLog(id, { after: next, limit: PAGE })
      if (signal.aborted) return
      next = Math.max(next, page.next)
      if (page.lines.length === 0) return
      add(page.lines, log.get().state)
    }
  }

  const run = async (signal: AbortSignal) => {
    while (!signal.aborted) {
      try {
        const over = isOver()
        await catchUp(signal)
        if (signal.aborted) return
        if (over) return add([], 'ended')
        add([], 'following')
        await client.followLog(id, { after: next, signal, lines: gather() })
      } catch {
        if (signal.aborted) return
        add([], 'failed')
        await new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))
      }
    }
  }

  const gather = () => {
    let waiting: LogLine[] = []
    return (lines: readonly LogLine[]) => {
      if (waiting.length === 0) {
        setTimeout(() => {
          const gathered = waiting
          waiting = []
          add(gathered, log.get().state)
        }, GATHER_MS)
      }
      waiting.push(...lines.filter((line) => line.offset > next))
      next = Math.max(next, lines.at(-1)?.offset ?? 0)
    }
  }

  return {
    get: log.get,
    subscribe(listener) {
      const end = log.subscribe(listener)
      if (watchers++ === 0) {
        aborter = new AbortController()
        void run(aborter.signal)
      }
      return () => {
        end()
        if (--watchers === 0) aborter.abort()
      }
    },
  }
}
