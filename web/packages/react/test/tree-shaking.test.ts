// @vitest-environment node
/** What a page pays for one hook: bundled as a page would, with React and the client outside. */
import { fileURLToPath } from 'node:url'
import { build } from 'vite'
import { expect, test } from 'vitest'

const INDEX = fileURLToPath(new URL('../src/index.ts', import.meta.url))
const PAGE = '\0page'

/** Return the files of this package whose code is in the bundle of a page that imports `name` and nothing else. */
async function filesOf(name: string): Promise<readonly string[]> {
  const page = {
    name: 'page',
    resolveId: (id: string) => (id === PAGE ? id : undefined),
    load: (id: string) => (id === PAGE ? `export { ${name} } from ${JSON.stringify(INDEX)}` : undefined),
  }
  const external = [/^react(\/|$)/, '@runstate/client']
  const rolldownOptions = { input: PAGE, external, preserveEntrySignatures: 'strict' as const }
  const built = await build({
    configFile: false,
    logLevel: 'silent',
    plugins: [page],
    build: { write: false, rolldownOptions },
  })
  const chunks = [built].flat().flatMap((one) => ('output' in one ? one.output : []))
  return chunks
    .flatMap((chunk) => (chunk.type === 'chunk' ? Object.entries(chunk.modules) : []))
    .filter(([id, module]) => id !== PAGE && module.renderedLength > 0)
    .map(([id]) => id.replace(/^.*\//, '').replace(/\.tsx?$/, ''))
    .sort()
}

const VIEW = ['provider', 'shallow', 'use-view']

test.each([
  ['useClient', ['provider']],
  ['useView', VIEW],
  ['useLink', [...VIEW, 'use-link']],
  ['usePipelines', [...VIEW, 'use-pipelines']],
  ['usePipelineState', [...VIEW, 'pipeline-state', 'use-pipeline-state']],
  ['useRun', [...VIEW, 'use-run']],
  ['useStage', [...VIEW, 'use-run', 'use-stage']],
  ['useHistory', ['history', 'provider', 'use-history']],
])('%s brings no code of the other hooks', { timeout: 60_000 }, async (name, files) => {
  expect(await filesOf(name)).toEqual([...files].sort())
})
