/** The logs that somebody looks at, one per run; the few latest are kept. */
import type { Client } from '@runstate/client'
import { isOver } from '@runstate/client'
import { createLog, type Log } from './log.ts'
import type { Readable } from './observable.ts'

const MOST_LOGS = 3

export type LogsStore = (runId: string) => Readable<Log>

export function createLogs(client: Client): LogsStore {
  const logs = new Map<string, Readable<Log>>()
  return (id) => {
    // A run that the view does not show is over: the view shows each pipeline's current one.
    const hasEnded = () => {
      const run = client.getView().runs[id]?.document
      return run === undefined || isOver(run.state)
    }
    const log = logs.get(id) ?? createLog(client, id, hasEnded)
    logs.delete(id)
    logs.set(id, log)
    const oldest = logs.keys().next().value
    if (logs.size > MOST_LOGS && oldest !== undefined) logs.delete(oldest)
    return log
  }
}
