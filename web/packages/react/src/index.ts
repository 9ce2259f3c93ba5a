/** The public names of @runstate/react, and nothing else. */

export type { History } from './history.ts'
export type { PipelineState } from './pipeline-state.ts'
export type { ProviderProps } from './provider.tsx'
export { RunstateProvider, useClient } from './provider.tsx'
export { useHistory } from './use-history.ts'
export { useLink } from './use-link.ts'
export { usePipelineState } from './use-pipeline-state.ts'
export { usePipelines } from './use-pipelines.ts'
export { useRun } from './use-run.ts'
export { useStage } from './use-stage.ts'
export { useView } from './use-view.ts'
