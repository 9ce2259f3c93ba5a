/** What the link's state (PROTOCOL F12) means for a page: whether to believe it, tick, grey out; as of when. Pure. */

import type { View } from '@runstate/client'

type Link = View['link']

export interface Freshness {
  readonly word: string
  readonly tone: 'good' | 'busy' | 'bad'
  /** The page shows the present: clocks tick and commands make sense. */
  readonly current: boolean
  /** The page greys: what it shows may be over. */
  readonly grey: boolean
  /** The moment that the page shows, ms since 1970 by the reader's clock; null while that is now or not known. */
  readonly asOf: number | null
}

type Meaning = Pick<Freshness, 'word' | 'tone' | 'current' | 'grey'>

const MEANINGS = {
  connecting: { word: 'connecting', tone: 'busy', current: false, grey: false },
  live: { word: 'live', tone: 'good', current: true, grey: false },
  quiet: { word: 'quiet', tone: 'good', current: true, grey: false },
  'source-stale': { word: 'source stale', tone: 'bad', current: false, grey: true },
  stale: { word: 'stale', tone: 'bad', current: false, grey: true },
  resyncing: { word: 'resyncing', tone: 'busy', current: false, grey: false },
  integrity: { word: 'integrity', tone: 'bad', current: false, grey: false },
} as const satisfies Record<Link['state'], Meaning>

export function freshnessOf(link: Link): Freshness {
  const meaning = MEANINGS[link.state]
  return { ...meaning, asOf: meaning.current ? null : asOf(link) }
}

/** When the journal behind a stale source last worked; else when the server was last heard. */
function asOf(link: Link): number | null {
  if (link.lastFrameAt === null) return null
  return link.state === 'source-stale' ? link.lastFrameAt - (link.sourceAgeMs ?? 0) : link.lastFrameAt
}

/** Why the page is not the present, in one sentence; null while it is, or while there is nothing to tell. */
export function explanation({ state, problem }: Link): string | null {
  if (MEANINGS[state].current) return null
  if (problem !== undefined) return `The server refuses this page: ${sentence(problem.detail)} The page keeps trying.`
  switch (state) {
    case 'stale':
      return 'The server is not answering. This is the last that it said; the page keeps trying.'
    case 'source-stale':
      return 'The server answers, but its journal does not. This is the last that is known to be true.'
    case 'resyncing':
      return 'Catching up with the server.'
    case 'integrity':
      return 'A document did not match its digest. The page shows whole documents only and keeps checking them.'
    default:
      return null
  }
}

function sentence(text: string): string {
  return /[.!?]$/.test(text) ? text : `${text}.`
}
