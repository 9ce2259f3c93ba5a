/**
 * The latest commits of one run, kept up with the view. Vanilla; `useHistory` is its skin.
 *
 * Law: one question at a time, and an answer that knows more than the view shows waits: history never runs ahead of the
 * page around it. Nothing is asked while nobody looks.
 */
import type { Client, Commit } from '@runstate/client'

export interface History {
  /** Oldest first, without holes; at most as many as were asked for. */
  readonly commits: readonly Commit[]
  /** The oldest version that the server still has; null until it has said so. */
  readonly floor: number | null
  readonly state: 'loading' | 'ready' | 'failed'
}

export const NO_HISTORY: History = { commits: [], floor: null, state: 'loading' }

export interface FollowedHistory {
  readonly get: () => History
  readonly subscribe: (wake: () => void) => () => void
}

/** Follow run `id`; `limit` is the number of commits that are kept, at most 1 000. */
export function followHistory(client: Client, id: string, limit: number): FollowedHistory {
  const wakes = new Set<() => void>()
  let known: readonly Commit[] = []
  let floor: number | null = null
  let failed = false
  let asking = false
  let shown = NO_HISTORY
  let leave = () => {}

  const publish = () => {
    const version = client.getView().runs[id]?.version
    const commits = version === undefined ? known : known.filter((commit) => commit.version <= version)
    const state = failed ? 'failed' : floor === null ? 'loading' : 'ready'
    const same = commits.length === shown.commits.length && commits.every((one, at) => one === shown.commits[at])
    if (same && state === shown.state && floor === shown.floor) return
    shown = { commits: same ? shown.commits : commits, floor, state }
    for (const wake of [...wakes]) wake()
  }

  const ask = async () => {
    asking = true
    try {
      const version = client.getView().runs[id]?.version
      const page = await client.getHistory(id, { after: after(version), limit })
      const last = page.commits.at(-1)?.version ?? 0
      // A run that the view does not show: only its first answer says how far it goes.
      const rest =
        version === undefined && last < page.head
          ? await client.getHistory(id, { after: Math.max(last, page.head - limit), limit })
          : null
      const fresh = rest === null ? page.commits : [...page.commits, ...rest.commits]
      known = joined(known, fresh).slice(-limit)
      floor = page.floor
      failed = false
    } catch {
      failed = true
    }
    asking = false
    publish()
    if (!failed) look()
  }

  const after = (version: number | undefined): number => {
    const last = known.at(-1)?.version ?? 0
    return version === undefined ? last : Math.max(last, version - limit)
  }

  const look = () => {
    publish()
    const version = client.getView().runs[id]?.version ?? (floor === null ? 1 : 0)
    if (!asking && wakes.size > 0 && version > (known.at(-1)?.version ?? 0)) void ask()
  }

  return {
    get: () => shown,
    subscribe(wake) {
      const own = () => wake()
      wakes.add(own)
      if (wakes.size === 1) leave = client.subscribe(look)
      look()
      return () => {
        wakes.delete(own)
        if (wakes.size === 0) leave()
      }
    },
  }
}

/** Return the two as one row of versions without holes: what stands before a hole is left out. */
function joined(known: readonly Commit[], fresh: readonly Commit[]): readonly Commit[] {
  const last = known.at(-1)?.version
  const first = fresh[0]?.version
  if (last === undefined || first === undefined) return known.length === 0 ? tail(fresh) : known
  return tail(first > last + 1 ? fresh : [...known, ...fresh.filter((commit) => commit.version > last)])
}

function tail(commits: readonly Commit[]): readonly Commit[] {
  const hole = commits.findLastIndex((commit, at) => at > 0 && commits[at - 1]?.version !== commit.version - 1)
  return hole < 0 ? commits : commits.slice(hole)
}
