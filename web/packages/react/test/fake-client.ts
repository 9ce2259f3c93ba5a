/** A scripted client: a test says what the stream shows and when a command is answered. No socket, no clock. */

import type { Client, Entry, PipelineDocument, Receipt, RunDocument, View } from '@runstate/client'

type StageRecord = RunDocument['stages'][string]

export interface Asked {
  readonly what: 'start' | 'stop' | 'retry' | 'schedule' | 'acknowledge' | 'list' | 'run' | 'history' | 'log'
  readonly subject: string | undefined
  /** The rest of what was asked: a body, a version, a page. */
  readonly more?: unknown
  readonly answer: (value: unknown) => void
  readonly refuse: (reason: unknown) => void
}

export interface FakeClient extends Client {
  /** What was asked for, oldest first; each is answered by the test. */
  readonly asked: Asked[]
  /** Swap the whole view, as one transition does. */
  show(change: Partial<View>): void
  readonly listeners: number
}

export const EPOCH = '1795442496-88a9e774'

export function fakeClient(): FakeClient {
  let view: View = {
    link: { state: 'connecting', since: 0, lastFrameAt: null, sourceAgeMs: null, transport: null },
    position: null,
    pipelines: {},
    runs: {},
  }
  const listeners = new Set<() => void>()
  const asked: Asked[] = []
  const ask = <T>(what: Asked['what'], subject: string | undefined, more?: unknown): Promise<T> =>
    new Promise<T>((resolve, reject) => {
      asked.push({ what, subject, more, answer: resolve as (value: unknown) => void, refuse: reject })
    })
  const fake = {
    asked,
    get listeners() {
      return listeners.size
    },
    getView: () => view,
    subscribe(listener: () => void) {
      const own = () => listener()
      listeners.add(own)
      return () => {
        listeners.delete(own)
      }
    },
    show(change: Partial<View>) {
      view = { ...view, ...change }
      for (const listener of [...listeners]) listener()
    },
    start: (pipeline: string, body?: unknown) => ask<Receipt>('start', pipeline, body),
    stop: (runId: string) => ask<Receipt>('stop', runId),
    retry: (runId: string) => ask<Receipt>('retry', runId),
    schedule: (pipeline: string, body: unknown) => ask<Receipt>('schedule', pipeline, body),
    acknowledge: (pipeline: string, body: unknown) => ask<Receipt>('acknowledge', pipeline, body),
    getRun: (runId: string, version?: number) => ask('run', runId, version),
    getHistory: (runId: string, page?: unknown) => ask('history', runId, page),
    getLog: (runId: string, page?: unknown) => ask('log', runId, page),
    followLog: () => new Promise<void>(() => {}),
    listRuns: (query?: { readonly pipeline?: string }) => ask('list', query?.pipeline),
    close() {},
  }
  return fake as unknown as FakeClient
}

export const stage = (change: Partial<StageRecord> = {}): StageRecord => ({
  state: 'pending',
  attempt: 0,
  started_at: null,
  ended_at: null,
  heartbeat_at: null,
  progress: null,
  error: null,
  error_code: null,
  outputs: {},
  ...change,
})

export const pipeline = (change: Partial<PipelineDocument> = {}): PipelineDocument => ({
  schema: 1,
  epoch: EPOCH,
  pipeline: 'market',
  version: 1,
  updated_at: '2026-11-23T10:40:00.000Z',
  stage_order: ['translator', 'analyzer', 'merger'],
  current_run_id: null,
  schedule: null,
  health: { state: 'healthy', reasons: [] },
  ...change,
})

export const run = (change: Partial<RunDocument> = {}): RunDocument => ({
  schema: 1,
  epoch: EPOCH,
  pipeline: 'market',
  run_id: 'run-1',
  version: 2,
  state: 'running_translator',
  status: 'running',
  current_stage: 'translator',
  started_at: '2026-11-23T10:41:18.000Z',
  updated_at: '2026-11-23T10:41:18.100Z',
  ended_at: null,
  retry_count: 0,
  error: null,
  error_code: null,
  metadata: {},
  trigger: { kind: 'manual', by: null },
  stop_requested: null,
  stage_order: ['translator', 'analyzer', 'merger'],
  stages: {
    translator: stage({ state: 'running', attempt: 1, started_at: '2026-11-23T10:41:18.100Z' }),
    analyzer: stage(),
    merger: stage(),
  },
  ...change,
})

/** Return the entry of a document, as of revision `revision` of the store. */
export const entry = <D extends PipelineDocument | RunDocument>(document: D, revision = 10): Entry<D> =>
  ({
    document,
    version: document.version,
    position: `${EPOCH}.${revision}`,
    digest: `sha-256:${'9f4c'.repeat(16)}`,
    verified: true,
  }) as Entry<D>

/** Return the part of a view that shows `market` with `current` as its current run. */
export function showing(current: RunDocument | null, revision = 10): Partial<View> {
  const id = current?.run_id ?? null
  return {
    position: `${EPOCH}.${revision}`,
    link: { state: 'live', since: 0, lastFrameAt: 0, sourceAgeMs: 0, transport: 'websocket' },
    pipelines: { market: entry(pipeline({ current_run_id: id }), revision) },
    runs: current === null || id === null ? {} : { [id]: entry(current, revision) },
  }
}
