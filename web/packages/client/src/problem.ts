/** What an HTTP answer says when it is not the answer that was asked for (PROTOCOL H9, RFC 9457). */
import { isObject } from './canonical.ts'
import type { Json, PipelineDocument, RunDocument } from './documents.ts'

export interface Problem {
  readonly type?: string
  readonly title?: string
  /** HTTP status; 0 where no answer came at all. */
  readonly status: number
  readonly detail?: string
  /** The stable word; `unreachable` where no answer came, `bad_answer` where it is none of runstate's. */
  readonly code: string
  /** The current document, where the refusal is about it. */
  readonly document?: RunDocument | PipelineDocument
}

/** A command or a read that was refused, or that nobody answered. */
export class ProblemError extends Error {
  override readonly name = 'ProblemError'
  readonly problem: Problem
  /** Ask again no sooner; 0 where the server did not say. */
  readonly retryAfterMs: number

  constructor(problem: Problem, { retryAfterMs = 0, ...options }: ErrorOptions & { retryAfterMs?: number } = {}) {
    super(problem.detail ?? problem.title ?? problem.code, options)
    this.problem = problem
    this.retryAfterMs = retryAfterMs
  }
}

/** Return what a body with HTTP `status` says. */
export function problemOf(body: Json, status: number): Problem {
  if (!isObject(body) || typeof body.code !== 'string') {
    return { status, code: 'bad_answer', detail: `the server answered ${status} without saying why` }
  }
  return { ...body, status, code: body.code }
}
