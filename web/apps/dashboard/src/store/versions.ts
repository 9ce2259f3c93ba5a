/**
 * A run as it was: the version that somebody looks at, with the commit that made it.
 *
 * Law: one question at a time; while it is open only the latest wish is remembered, and an answer to an older wish is
 * never shown (a slider may be dragged over a thousand versions). Versions never change, so nothing is asked twice in a
 * row. These documents stand beside the view, not in it.
 */
import { type Client, type Commit, type Entry, ProblemError, type RunDocument } from '@runstate/client'
import { type Readable, writable } from './observable.ts'

export interface Version {
  readonly run: string
  readonly version: number
  readonly entry: Entry<RunDocument>
  readonly commit: Commit | null
  /** As it was one version before; null for the first, and where the server has it no more. */
  readonly before: RunDocument | null
}

/** The oldest version that the server still has of a run. */
export interface Floor {
  readonly run: string
  readonly version: number
}

export interface LookBack {
  /** The latest that was found; it may be of an earlier wish while `asking`. */
  readonly found: Version | null
  readonly asking: boolean
  /** Why the wish cannot be shown. */
  readonly trouble: string | null
  /** Of the run that was asked for last; null until the server has said it. */
  readonly floor: Floor | null
}

export interface VersionsStore extends Readable<LookBack> {
  /** Show version `version` of `run`. */
  readonly look: (run: string, version: number) => void
}

export function createVersions(client: Client): VersionsStore {
  const shown = writable<LookBack>({ found: null, asking: false, trouble: null, floor: null })
  let wish: { readonly run: string; readonly version: number } | null = null

  const ask = async () => {
    for (let asked = wish; asked !== null; asked = wish === asked ? null : wish) {
      const { run, version } = asked
      const history = client.getHistory(run, { after: version - 1, limit: 1 })
      const told = history.then(
        ({ floor }): Floor => ({ run, version: floor }),
        () => null,
      )
      try {
        const [entry, { commits }, before] = await Promise.all([
          client.getRun(run, version),
          history,
          version === 1 ? null : client.getRun(run, version - 1).catch(() => null),
        ])
        const floor = await told
        const commit = commits.find((one) => one.version === version) ?? null
        if (wish === asked) {
          const found = { run, version, entry, commit, before: before?.document ?? null }
          shown.set({ found, asking: false, trouble: null, floor })
        }
      } catch (reason) {
        const floor = await told
        if (wish === asked) {
          shown.set({ found: null, asking: false, trouble: troubleOf(reason, version, floor), floor })
        }
      }
    }
  }

  return {
    get: shown.get,
    subscribe: shown.subscribe,
    look(run, version) {
      if (wish?.run === run && wish.version === version && shown.get().trouble === null) return
      const busy = shown.get().asking
      wish = { run, version }
      shown.set({ ...shown.get(), asking: true, trouble: null })
      if (!busy) void ask()
    },
  }
}

function troubleOf(reason: unknown, version: number, floor: Floor | null): string {
  const problem = reason instanceof ProblemError ? reason.problem : null
  if (problem?.code === 'compacted') {
    return `Version ${version} has been thinned out; only ${floor === null ? 'later ones' : `${floor.version} and later`} are kept.`
  }
  if (problem?.code === 'not_found') return `There is no version ${version} of this run.`
  return 'The version could not be loaded.'
}
