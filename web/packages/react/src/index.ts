/** The public names of @runstate/react, and nothing else. */

export type { PipelineState } from './pipeline-state.ts'
export type { ProviderProps } from './provider.tsx'
export { RunstateProvider, useClient } from './provider.tsx'
export { useLink } from './use-link.ts'
export { usePipelineState } from './use-pipeline-state.ts'
export { usePipelines } from './use-pipelines.ts'
export { useRun } from './use-run.ts'
export { useView } from './use-view.ts'
