/** What a client shows, remembered and checked, for the tests against real servers. */
import { canonical } from '../src/canonical.ts'
import type { Client, View } from '../src/index.ts'

export function needed(name: string): string {
  const value = process.env[name]
  if (value === undefined) throw new Error(`${name} is missing: run this through the Python test that serves it`)
  return value
}

/** Resolves with the first view for which `wanted` holds. */
export function until(client: Client, wanted: (view: View) => unknown): Promise<View> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (!wanted(client.getView())) return
      stop()
      resolve(client.getView())
    }
    const stop = client.subscribe(look)
    look()
  })
}

/** Collect every version that a client shows, by name and version; throws in the listener for one that is not verified. */
export function record(client: Client): Map<string, string> {
  const seen = new Map<string, string>()
  const look = (): void => {
    const { runs, pipelines } = client.getView()
    for (const [name, entry] of Object.entries({ ...runs, ...pipelines })) {
      if (!entry.verified) throw new Error(`${name} is shown and not verified`)
      seen.set(`${name}@${entry.version}`, canonical(entry.document as never))
    }
  }
  client.subscribe(look)
  look()
  return seen
}

/** Throws if two clients saw one version with two faces. */
export function agree(records: readonly ReadonlyMap<string, string>[]): void {
  const faces = new Map<string, string>()
  for (const [name, text] of records.flatMap((seen) => [...seen])) {
    if ((faces.get(name) ?? text) !== text) throw new Error(`${name} has two faces: ${faces.get(name)} and ${text}`)
    faces.set(name, text)
  }
}
