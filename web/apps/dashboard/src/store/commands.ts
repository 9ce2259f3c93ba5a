/**
 * The commands that this page has sent and whose effect it has not shown yet.
 *
 * Law: nothing optimistic. A command is pending from the click until the commit that it caused is in the view
 * (`reached`), not until its answer; the answer's document never reaches the screen (PROTOCOL F11).
 */

import { type Client, type PipelineDocument, type RunDocument, reached, type StartBody } from '@runstate/client'
import { sentenceFor, type Verb } from '../model/problem.ts'
import { type Readable, writable } from './observable.ts'

export type Command =
  | { readonly kind: 'sending'; readonly verb: Verb }
  | { readonly kind: 'committed'; readonly verb: Verb; readonly position: string }
  | { readonly kind: 'refused'; readonly verb: Verb; readonly sentence: string }

/** The latest command of each pipeline that still has something to say. */
export type Pending = Readonly<Record<string, Command>>

/** What the reader saw when they gave the command: it is refused if that is not so any more (C2). */
export interface Seen {
  readonly document: RunDocument | PipelineDocument
  readonly position: string
}

export interface Commands extends Readable<Pending> {
  readonly start: (pipeline: string, body?: StartBody) => void
  readonly stop: (pipeline: string, runId: string) => void
  readonly retry: (pipeline: string, runId: string, seen: Seen | null) => void
  readonly enable: (pipeline: string, enabled: boolean, seen: Seen) => void
  readonly acknowledge: (pipeline: string, reason: string, seen: Seen) => void
  /** The reader has read the refusal. */
  readonly dismiss: (pipeline: string) => void
}

export function createCommands(client: Client): Commands {
  const pending = writable<Pending>({})

  const put = (pipeline: string, command: Command | null) => {
    const { [pipeline]: _, ...others } = pending.get()
    pending.set(command === null ? others : { ...others, [pipeline]: command })
  }

  // For the life of the page: a commit may come before or after the answer that names it.
  client.subscribe(() => settle())
  const settle = () => {
    for (const [pipeline, command] of Object.entries(pending.get())) {
      if (command.kind === 'committed' && reached(client.getView(), command.position)) put(pipeline, null)
    }
  }

  const send = async (
    pipeline: string,
    verb: Verb,
    ask: () => Promise<{ readonly position: string }>,
    seen: Seen | null = null,
  ) => {
    const before = pending.get()[pipeline]
    if (before !== undefined && before.kind !== 'refused') return
    put(pipeline, { kind: 'sending', verb })
    try {
      const { position } = await ask()
      put(pipeline, { kind: 'committed', verb, position })
      settle()
    } catch (reason) {
      put(pipeline, { kind: 'refused', verb, sentence: sentenceFor(verb, reason, seen?.document) })
    }
  }
  const at = (seen: Seen | null) => (seen === null ? {} : { ifMatch: seen.position })

  return {
    get: pending.get,
    subscribe: pending.subscribe,
    start: (pipeline, body) => void send(pipeline, 'start', () => client.start(pipeline, body)),
    // Without a condition: a run that has only gone on is still the one to be stopped.
    stop: (pipeline, runId) => void send(pipeline, 'stop', () => client.stop(runId)),
    retry: (pipeline, runId, seen) => void send(pipeline, 'retry', () => client.retry(runId, at(seen)), seen),
    enable: (pipeline, enabled, seen) =>
      void send(pipeline, 'schedule', () => client.schedule(pipeline, { enabled }, at(seen)), seen),
    acknowledge: (pipeline, reason, seen) =>
      void send(pipeline, 'acknowledge', () => client.acknowledge(pipeline, { reason }, at(seen)), seen),
    dismiss(pipeline) {
      if (pending.get()[pipeline]?.kind === 'refused') put(pipeline, null)
    },
  }
}
