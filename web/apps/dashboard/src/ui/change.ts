import type { RunDocument } from '@runstate/client'
import { useMemo } from 'react'
import { type Difference, differences, patchRows, tellingFirst } from '../model/diff.ts'
import { useStep, useVersion } from './stores.tsx'

/** Where and as what a document is known. */
export interface Shown {
  readonly position: string
  readonly digest: string
  readonly verified: boolean
}

/** What a version of a run changed. */
export interface Change {
  /** null: it is the first. */
  readonly from: number | null
  readonly to: number
  /** null: the server does not know any more. */
  readonly rows: readonly Difference[] | null
  /** What the server said of the version, where it was asked. */
  readonly entry: Shown | null
}

/**
 * Return what came with the version that the page shows; null while that is not known.
 *
 * While the stream moves the run it is the difference of what was shown and what is. Else the server is asked for the
 * commit: of the version `wanted`, or of the latest when the page has just been opened.
 */
export function useChange(run: RunDocument, wanted: number | null): Change | null {
  const step = useStep(run.run_id)
  const isStep = wanted === null && step?.after.version === run.version
  const { found } = useVersion(isStep ? null : run.run_id, wanted ?? run.version)
  return useMemo(() => {
    if (isStep && step !== undefined) {
      const rows = tellingFirst(differences(step.before, step.after))
      return { from: step.before.version, to: step.after.version, rows, entry: null }
    }
    if (found === null || found.run !== run.run_id || found.version !== run.version) return null
    const { version, commit, before, entry } = found
    const rows = commit === null ? null : tellingFirst(patchRows(before, commit.patch ?? []))
    return { from: commit?.patch === null ? null : version - 1, to: version, rows, entry }
  }, [isStep, step, found, run.run_id, run.version])
}
