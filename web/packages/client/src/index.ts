/** The public names of @runstate/client. */
export { type Client, type ConnectOptions, connect } from './client.ts'
export type { Clock, Timer } from './clock.ts'
export type {
  Health,
  Json,
  JsonObject,
  PipelineDocument,
  Progress,
  RunDocument,
  Schedule,
  StageRecord,
  StageState,
  Status,
} from './documents.ts'
export type { Trouble } from './frames.ts'
export type {
  AcknowledgeBody,
  CommandOptions,
  Fetch,
  Receipt,
  RunList,
  RunsQuery,
  ScheduleBody,
  StartBody,
  StopBody,
} from './http.ts'
export type { LinkState, Transport } from './link.ts'
export { isOver, type Phase, phaseOf, stageOf, statusOf } from './machine.ts'
export { type Problem, ProblemError } from './problem.ts'
export type { Commit, HistoryPage, LogLine, LogPage, LogQuery, PageQuery, PatchOperation } from './reads.ts'
export type { Entry } from './replica.ts'
export type { Socket, SocketClass, SocketOptions } from './transports.ts'
export { reached, type View, type ViewLink as Link } from './view.ts'
