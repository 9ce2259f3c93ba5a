/** All stores of the page over one client: whatever they show is of one view. */
import type { Client } from '@runstate/client'
import { type Commands, createCommands } from './commands.ts'
import { createLogs, type LogsStore } from './logs.ts'
import { createLookups, type LookupsStore } from './lookups.ts'
import type { Readable } from './observable.ts'
import { createProgress, type Observed } from './progress.ts'
import { createRecentRuns, type RecentRunsStore } from './recent-runs.ts'
import type { Route } from './route.ts'
import { createRunsList, type RunsListStore } from './runs-list.ts'
import { createSteps, type Steps } from './steps.ts'
import { createTails, type TailsStore } from './tails.ts'
import { createVersions, type VersionsStore } from './versions.ts'

export interface Stores {
  readonly clock: Readable<number>
  readonly route: Readable<Route>
  readonly commands: Commands
  readonly recent: RecentRunsStore
  readonly list: RunsListStore
  readonly lookups: LookupsStore
  readonly versions: VersionsStore
  readonly steps: Readable<Steps>
  readonly logs: LogsStore
  readonly tails: TailsStore
  readonly progress: Readable<Observed>
}

export function makeStores(client: Client, clock: Readable<number>, route: Readable<Route>): Stores {
  return {
    clock,
    route,
    commands: createCommands(client),
    recent: createRecentRuns(client),
    list: createRunsList(client),
    lookups: createLookups(client),
    versions: createVersions(client),
    steps: createSteps(client),
    logs: createLogs(client),
    tails: createTails(client),
    progress: createProgress(client),
  }
}
