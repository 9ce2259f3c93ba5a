/** The two short texts under a stage's bar: what it does or made, and how it goes. Pure. */

import type { RunDocument } from '@runstate/client'
import { clock, count, instant, rate, remaining, took } from '../format.ts'
import { left, perSecond, type Sample } from '../model/rate.ts'
import type { StageRecord } from '../model/run.ts'

/** `3 of 10 files · SPY_2011.csv`, or what a finished stage declared: `files 10 · rows 1 204 118`. */
export function whatNote(stage: StageRecord): string {
  const made = stage.state === 'success' ? outputsNote(stage.outputs) : ''
  return made === '' ? progressNote(stage.progress) : made
}

export interface Pace {
  /** The progress of this attempt, as this page has seen it. */
  readonly samples: readonly Sample[]
  /** How long the stage took when it last succeeded, ms; undefined if that is not known. */
  readonly lastTime: number | undefined
  /** The moment that the page shows; null when it is not known. */
  readonly now: number | null
}

/** Before: `48.2 s last time`; while it runs: `19.3 days/s · about 48 s left`; afterwards: `10:41:18 – 10:42:06`. */
export function howNote(stage: StageRecord, { samples, lastTime, now }: Pace): string {
  const from = instant(stage.started_at)
  const to = instant(stage.ended_at)
  const before = lastTime === undefined ? '' : `${took(lastTime)} last time`
  if (from === null) return before
  if (to !== null) return `${clock(from)} – ${clock(to)}`
  const speed = perSecond(samples)
  if (speed === null || now === null) return before === '' ? `since ${clock(from)}` : before
  const rest = left(samples, stage.progress?.total ?? null, now)
  const pace = rate(speed, stage.progress?.unit ?? null)
  return rest === null ? pace : `${pace} · ${remaining(rest)}`
}

/** `3 of 10 files`; empty while nothing was said. */
export function amountNote(progress: StageRecord['progress']): string {
  if (progress === null) return ''
  const { done, total, unit } = progress
  return `${total === null ? count(done) : `${count(done)} of ${count(total)}`}${unit === null ? '' : ` ${unit}`}`
}

function progressNote(progress: StageRecord['progress']): string {
  const message = progress?.message ?? ''
  return message === '' ? amountNote(progress) : `${amountNote(progress)} · ${message}`
}

const MOST_OUTPUTS = 4
const LONGEST_TEXT = 40

/** The first few outputs that are one value each; the raw state has them all. */
function outputsNote(outputs: RunDocument['stages'][string]['outputs']): string {
  return Object.entries(outputs)
    .flatMap(([name, value]) => {
      if (typeof value === 'number') return [`${name} ${count(value)}`]
      if (typeof value === 'string' && value.length <= LONGEST_TEXT) return [`${name} ${value}`]
      return []
    })
    .slice(0, MOST_OUTPUTS)
    .join(' · ')
}
