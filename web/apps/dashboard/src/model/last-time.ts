import type { RunDocument } from '@runstate/client'
import { elapsed } from './elapsed.ts'

/** How long each stage took, ms, in the latest of `runs` in which it succeeded, other than run `except`. */
export function lastTimes(runs: readonly RunDocument[], except: string | null): Readonly<Record<string, number>> {
  const times: Record<string, number> = {}
  for (const run of runs) {
    if (run.run_id === except) continue
    for (const [name, stage] of Object.entries(run.stages)) {
      const lasted = elapsed(stage.started_at, stage.ended_at, null)
      if (stage.state === 'success' && lasted !== null) times[name] ??= lasted
    }
  }
  return times
}
