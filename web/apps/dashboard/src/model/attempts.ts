/** The attempts of a run's stages, out of its history: when each ran and how it ended. Pure. */

import type { Commit, Json, RunDocument } from '@runstate/client'
import { instant } from '../format.ts'

export interface Attempt {
  readonly stage: string
  /** Milliseconds since 1970. */
  readonly from: number
  /** null: it is running. */
  readonly to: number | null
  readonly outcome: 'running' | 'success' | 'failed' | 'stopped' | 'retrying'
  readonly code: string | null
}

const RUNNING = 'running_'

/** Return the attempts that `commits` tell of, oldest first. */
export function attemptsOf(commits: readonly Commit[]): readonly Attempt[] {
  const attempts: Attempt[] = []
  for (const { old_state: was, new_state: is, at, patch } of commits) {
    const time = instant(at)
    if (was === is || time === null) continue
    const open = attempts.at(-1)
    if (open !== undefined && open.to === null) {
      const outcome = is.startsWith(RUNNING) ? 'success' : outcomeOf(is)
      attempts[attempts.length - 1] = { ...open, to: time, outcome, code: codeOf(open.stage, patch ?? []) }
    }
    if (is.startsWith(RUNNING)) {
      attempts.push({ stage: is.slice(RUNNING.length), from: time, to: null, outcome: 'running', code: null })
    }
  }
  return attempts
}

/** Return the attempts that the document itself still knows: the latest of each stage. */
export function latestAttempts(run: Pick<RunDocument, 'stage_order' | 'stages'>): readonly Attempt[] {
  return run.stage_order.flatMap((stage) => {
    const record = run.stages[stage]
    const from = instant(record?.started_at ?? null)
    if (record === undefined || from === null || record.state === 'skipped') return []
    const to = instant(record.ended_at)
    return [{ stage, from, to, outcome: to === null ? 'running' : outcomeOf(record.state), code: record.error_code }]
  })
}

function outcomeOf(state: string): Attempt['outcome'] {
  return state === 'success' || state === 'stopped' || state === 'retrying' ? state : 'failed'
}

function codeOf(stage: string, patch: NonNullable<Commit['patch']>): string | null {
  const base = `/stages/${stage}`
  const own = patch.find(({ path }) => path === `${base}/error_code`)?.value
  const whole = patch.find(({ path }) => path === base)?.value as { readonly error_code?: Json } | undefined
  const code = own ?? whole?.error_code
  return typeof code === 'string' ? code : null
}
