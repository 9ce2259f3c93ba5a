/** The values of link.ts: what happens to a link, what it asks of its shell, and where it is. */
import type { Frame, Trouble } from './frames.ts'
import { newReplica, type Replica } from './replica.ts'

export type Transport = 'websocket' | 'sse' | 'long-poll'
export type LinkState = 'connecting' | 'live' | 'quiet' | 'source-stale' | 'stale' | 'resyncing' | 'integrity'

const HEARTBEAT_MS = 5000 // until a hello names another

export type LinkEvent =
  | { readonly kind: 'start' }
  | { readonly kind: 'received'; readonly generation: number; readonly frame: Frame; readonly retryMs: number }
  /** The connection ended or could not be made; `trouble` is what the server answered instead of a stream. */
  | {
      readonly kind: 'dropped'
      readonly generation: number
      readonly trouble: Trouble | null
      readonly retryMs: number
    }
  /** `wakeAt` has come. */
  | { readonly kind: 'tick' }
  /** Somebody has changed what kept us out: a wait is over now. */
  | { readonly kind: 'retry' }
  | { readonly kind: 'stop' }

/** Open a connection; its events carry `generation`. `resume` null: begin with a snapshot. */
export interface Connect {
  readonly kind: 'connect'
  readonly generation: number
  readonly transport: Transport
  readonly resume: string | null
  readonly delta: boolean
}

export type Action =
  | Connect
  /** Send a `subscribe` without `resume` on the open WebSocket. */
  | { readonly kind: 'resync'; readonly generation: number; readonly delta: boolean }
  /** Close the connection of this generation and expect nothing more of it. */
  | { readonly kind: 'disconnect'; readonly generation: number }

/** Where the connection is; all times are of the client's own clock. */
export interface Link {
  /** In order of preference. */
  readonly transports: readonly [Transport, ...Transport[]]
  readonly replica: Replica
  /** Ask for patches, while no digest was ever wrong. */
  readonly delta: boolean
  readonly phase: 'idle' | 'connecting' | 'open' | 'waiting' | 'stopped'
  readonly generation: number
  /** Generation that was last given out. */
  readonly latest: number
  readonly transport: Transport
  /** Have brought a frame at least once. */
  readonly proven: readonly Transport[]
  readonly heartbeatMs: number
  /** Connections since one last lived for a heartbeat. */
  readonly failures: number
  /** Snapshots asked for since all was last well. */
  readonly asks: number
  readonly askedAt: number | null
  /** When to ask again, in the phase open. */
  readonly askAt: number | null
  /** When to connect, in the phase waiting. */
  readonly connectAt: number | null
  readonly connectedAt: number
  /** The last useful frame of this connection. */
  readonly heardAt: number
  /** The last frame that said: what is shown is right up to now. */
  readonly confirmedAt: number | null
  /** What the server said of this connection's successor. */
  readonly retryMs: number
  /** A stream that is tried beside the long-poll. */
  readonly rising: Connect | null
  /** When to try one, or to give up the one that is tried. */
  readonly riseAt: number | null
  /** Tried beside this long-poll so far. */
  readonly rises: number
  readonly isQuiet: boolean
  /** As of the last transition. */
  readonly sourceAgeMs: number | null
  /** Why the server refused us last; null once a frame came. */
  readonly trouble: Trouble | null
  readonly state: LinkState
  readonly since: number
}

/** Return a link that has not started. */
export function newLink(
  transports: Link['transports'],
  { topics = ['*'], delta = false }: { topics?: readonly string[]; delta?: boolean } = {},
): Link {
  const never = { askedAt: null, askAt: null, connectAt: null, confirmedAt: null, sourceAgeMs: null, trouble: null }
  const none = { rising: null, riseAt: null, rises: 0, latest: 0 }
  const zero = { generation: 0, failures: 0, asks: 0, connectedAt: 0, heardAt: 0, retryMs: 0, since: 0 }
  const begun = { phase: 'idle', state: 'connecting', isQuiet: false, proven: [], heartbeatMs: HEARTBEAT_MS } as const
  return {
    ...never,
    ...none,
    ...zero,
    ...begun,
    transports,
    delta,
    replica: newReplica(topics),
    transport: transports[0],
  }
}
