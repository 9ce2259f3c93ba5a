/** Which texts of a stage's outputs are files that can be read in place (PROTOCOL H11). Pure. */

import type { Json, RunDocument } from '@runstate/client'

export interface MadeFile {
  readonly stage: string
  readonly path: string
}

const FILE = /^[^\s?#]+\.[A-Za-z0-9]{1,8}$/

/** Return the paths that finished stages declared, in the stages' order. */
export function filesOf(run: Pick<RunDocument, 'stage_order' | 'stages'>): readonly MadeFile[] {
  return run.stage_order.flatMap((stage) => {
    const record = run.stages[stage]
    if (record?.state !== 'success') return []
    return [...new Set(texts(record.outputs))].filter((text) => FILE.test(text)).map((path) => ({ stage, path }))
  })
}

/** Return the run's report: the last `report.html` that was declared. */
export function reportOf(files: readonly MadeFile[]): MadeFile | null {
  return files.findLast(({ path }) => /(^|\/)report\.html$/.test(path)) ?? null
}

/** The address of a file, relative to the page. */
export function fileHref(runId: string, path: string): string {
  const parts = path.replace(/^\/+/, '').split('/').map(encodeURIComponent)
  return `api/runs/${encodeURIComponent(runId)}/files/${parts.join('/')}`
}

function texts(value: Json): readonly string[] {
  if (typeof value === 'string') return [value]
  if (typeof value !== 'object' || value === null) return []
  return Object.values(value).flatMap((member) => texts(member as Json))
}
