import type { PipelineDocument, View } from '@runstate/client'
import { useView } from './use-view.ts'

const documents = (view: View): readonly PipelineDocument[] =>
  Object.values(view.pipelines).map((entry) => entry.document)

/** Return every pipeline's document, in the order in which the server named them; the array keeps its identity. */
export function usePipelines(): readonly PipelineDocument[] {
  return useView(documents)
}
