/** The documents as the server writes them, member by member. Law: types only, and nothing the wire does not have. */

export type Json = null | boolean | number | string | readonly Json[] | JsonObject
export interface JsonObject {
  readonly [key: string]: Json
}

export type Status = 'idle' | 'running' | 'stopped' | 'error'
export type StageState = 'pending' | 'running' | 'retrying' | 'success' | 'failed' | 'stopped' | 'skipped'

export interface Progress {
  readonly done: number
  readonly total: number | null
  readonly unit: string | null
  readonly message: string | null
}

export interface StageRecord {
  readonly state: StageState
  /** Executions so far, from 1; never restarts. */
  readonly attempt: number
  readonly started_at: string | null
  readonly ended_at: string | null
  readonly heartbeat_at: string | null
  readonly progress: Progress | null
  readonly error: string | null
  readonly error_code: string | null
  readonly outputs: JsonObject
}

export interface RunDocument {
  readonly schema: number
  readonly epoch: string
  readonly pipeline: string
  /** null only in the status document of a pipeline that never ran. */
  readonly run_id: string | null
  readonly version: number
  readonly state: string
  readonly status: Status
  readonly current_stage: string | null
  readonly started_at: string | null
  readonly updated_at: string | null
  readonly ended_at: string | null
  readonly retry_count: number
  readonly error: string | null
  readonly error_code: string | null
  readonly metadata: JsonObject
  readonly trigger: { readonly kind: 'manual' | 'schedule' | 'external'; readonly by: string | null } | null
  readonly stop_requested: {
    readonly at: string
    readonly by: string | null
    readonly reason: string | null
  } | null
  readonly stage_order: readonly string[]
  readonly stages: Readonly<Record<string, StageRecord>>
}

export interface Schedule {
  readonly cron: string
  readonly tz: string
  readonly enabled: boolean
  readonly missed: string
  readonly overlap: string
  readonly queued_at: string | null
  readonly next_run_at: string | null
  readonly last_run_id: string | null
  readonly last_skip_reason: string | null
}

export interface Health {
  readonly state: 'healthy' | 'degraded' | 'unstable' | 'blocked'
  readonly reasons: readonly string[]
}

export interface PipelineDocument {
  readonly schema: number
  readonly epoch: string
  readonly pipeline: string
  readonly version: number
  readonly updated_at: string | null
  readonly stage_order: readonly string[]
  readonly current_run_id: string | null
  readonly schedule: Schedule | null
  readonly health: Health
}
