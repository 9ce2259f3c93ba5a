/** Frames as a server sends them, for tests of the shell. */
import { canonical, digest } from '../src/canonical.ts'
import type { Json, JsonObject } from '../src/documents.ts'

export const EPOCH = '100-aaaaaaaa'

export function at(revision: number): string {
  return `${EPOCH}.${revision}`
}

export function run(version: number, state: string, more: JsonObject = {}): JsonObject {
  const stages = { a: { state: 'running', attempt: 1 }, b: { state: 'pending', attempt: 0 } }
  return { run_id: 'r1', pipeline: 'market', version, state, stages, ...more }
}

export function pipeline(version: number, current: string | null): JsonObject {
  return { pipeline: 'market', version, current_run_id: current }
}

export function change(document: JsonObject, position: string, more: JsonObject = {}): JsonObject {
  const { run_id = null, version = null, state = null, pipeline = null } = document
  const common = { position, version, digest: digest(canonical(document)), timestamp: '2026-11-23T17:36:00.000Z' }
  if (run_id === null) {
    return { event: 'pipeline_change', kind: 'pipeline', pipeline, ...common, data: { document }, ...more }
  }
  const data = { old_state: 'starting', new_state: state, canonical_state: document }
  return { event: 'state_change', kind: 'run', run_id, stage: 'pipeline', ...common, data, ...more }
}

export function hello(revision: number): Json {
  const position = at(revision)
  return { type: 'hello', protocol: 1, server: 's', epoch: EPOCH, position, heartbeat_ms: 5000 }
}

export function snapshot(revision: number, ...changes: readonly Json[]): Json {
  return { type: 'snapshot', reason: 'initial', position: at(revision), more: false, changes }
}

export function transition(from: number, to: number, ...changes: readonly Json[]): Json {
  const server_time = '2026-11-23T17:36:00.000Z'
  return { type: 'transition', from: at(from), to: at(to), server_time, source_age_ms: 7, changes }
}
