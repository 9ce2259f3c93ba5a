/** The last log lines of stages that failed, asked for when somebody looks and the stage has ended anew. */
import type { Client, LogLine } from '@runstate/client'
import { type Readable, writable } from './observable.ts'

const LINES = 8

export interface TailsStore extends Readable<Readonly<Record<string, readonly LogLine[]>>> {
  readonly want: (runId: string, stage: string) => void
}

export function tailKey(runId: string, stage: string): string {
  return `${runId} ${stage}`
}

export function createTails(client: Client): TailsStore {
  const shown = writable<Readonly<Record<string, readonly LogLine[]>>>({})
  let question = 0
  return {
    get: shown.get,
    subscribe: shown.subscribe,
    want(runId, stage) {
      const mine = ++question
      client.getLog(runId, { stage, tail: LINES }).then(
        ({ lines }) => {
          if (mine === question) shown.set({ ...shown.get(), [tailKey(runId, stage)]: lines })
        },
        () => {}, // the log panel says that the log cannot be read
      )
    },
  }
}
