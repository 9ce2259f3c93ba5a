/**
 * The states of a run and the moves between them (PROTOCOL D2, D3), for those who show them.
 *
 * Law: all moves stand here as data. An unknown state is an error, never `idle`.
 */
import type { Status } from './documents.ts'

export type Phase = 'idle' | 'scheduled' | 'starting' | 'running' | 'retrying' | 'success' | 'failed' | 'stopped'

const MOVES = {
  idle: ['scheduled', 'starting'],
  scheduled: ['starting', 'idle'],
  starting: ['running', 'failed', 'stopped'],
  running: ['running', 'success', 'retrying', 'failed', 'stopped'],
  retrying: ['running', 'failed', 'stopped'],
  success: [],
  failed: ['retrying'],
  stopped: ['retrying'],
} as const satisfies Record<Phase, readonly Phase[]>

const STATUS = {
  idle: 'idle',
  success: 'idle',
  stopped: 'stopped',
  failed: 'error',
  scheduled: 'running',
  starting: 'running',
  running: 'running',
  retrying: 'running',
} as const satisfies Record<Phase, Status>

const RUNNING = 'running_'

/** Return the phase that a state spells; throws RangeError for an unknown word. */
export function phaseOf(state: string): Phase {
  if (state.startsWith(RUNNING) && state.length > RUNNING.length) return 'running'
  if (state !== 'running' && Object.hasOwn(MOVES, state)) return state as Phase // the key was just found
  throw new RangeError(`"${state}" is not a state of a run`)
}

/** Return the stage of `running_<stage>`, else null. */
export function stageOf(state: string): string | null {
  return phaseOf(state) === 'running' ? state.slice(RUNNING.length) : null
}

/** Return the coarse status of a state; throws RangeError for an unknown word. */
export function statusOf(state: string): Status {
  return STATUS[phaseOf(state)]
}

/** Return whether nothing happens any more to a run in this state: it ended, or was cancelled before it began (`idle`). */
export function isOver(state: string): boolean {
  return statusOf(state) !== 'running'
}

/**
 * Return whether D2 has this move.
 *
 * @param plan The run's stages in running order.
 * @param stage The stage that a `retrying` run is to go on with; the word itself does not say it.
 */
export function isMove(plan: readonly string[], from: string, to: string, stage: string | null = null): boolean {
  const [before, after] = [phaseOf(from), phaseOf(to)]
  const moves: readonly Phase[] = MOVES[before]
  if (!moves.includes(after)) return false
  const [left, entered] = [stageOf(from) ?? stage, stageOf(to)]
  if (before === 'running') {
    const at = left === null ? -1 : plan.indexOf(left)
    if (at < 0) return false
    if (after === 'running') return at + 1 < plan.length && entered === plan[at + 1]
    return after !== 'success' || at === plan.length - 1
  }
  if (after !== 'running') return true
  return entered === (before === 'starting' ? plan[0] : left)
}
