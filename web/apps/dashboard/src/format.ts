/**
 * How times, durations and numbers read. Nothing else in the dashboard formats any of them.
 *
 * Times are shown in the reader's own zone; the UTC text of the document stands in the tooltip. No locale is asked:
 * the page is English and must read the same everywhere. Durations are in milliseconds.
 */

const SECOND = 1_000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'] as const
/** Groups of three digits stand apart by a space that never breaks. */
const THIN = '\u202f'

/** Milliseconds since 1970 of a document's time; null for null and for what is no time. */
export function instant(text: string | null): number | null {
  const at = text === null ? Number.NaN : Date.parse(text)
  return Number.isNaN(at) ? null : at
}

/** `10:41:18` in the reader's zone. */
export function clock(at: number): string {
  const date = new Date(at)
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':')
}

/** `10:41:18`; for another day than that of `now` the day instead of the seconds: `22 Nov 10:41`. */
export function dayClock(at: number, now: number): string {
  if (dayOf(at) === dayOf(now)) return clock(at)
  const date = new Date(at)
  const day = `${date.getDate()} ${MONTHS[date.getMonth()]}`
  const sameYear = date.getFullYear() === new Date(now).getFullYear()
  return `${sameYear ? day : `${day} ${date.getFullYear()}`} ${clock(at).slice(0, 5)}`
}

/** `today 13:00`, `tomorrow 13:00`, `26 Nov 13:00`: something that is still to come. */
export function upcoming(at: number, now: number): string {
  const days = Math.round((dayOf(at) - dayOf(now)) / DAY)
  if (days !== 0 && days !== 1) return dayClock(at, now)
  return `${days === 0 ? 'today' : 'tomorrow'} ${clock(at).slice(0, 5)}`
}

/** When the day of `at` began in the reader's zone. */
export function dayOf(at: number): number {
  return new Date(at).setHours(0, 0, 0, 0)
}

/** How long something took, to the digit that a reader can use: `350 ms`, `48.2 s`, `1 min 26 s`, `2 h 05 min`. */
export function took(ms: number): string {
  if (ms < SECOND) return `${Math.max(0, Math.round(ms))} ms`
  // 59.96 s would round to 60.0 s.
  if (ms < MINUTE - 50) return `${(ms / SECOND).toFixed(1)} s`
  return whole(Math.round(ms / SECOND) * SECOND)
}

/** How long something has been going on: like `took`, but in whole seconds, because it is read while it ticks. */
export function whole(ms: number): string {
  const left = Math.max(0, ms)
  if (left < MINUTE) return `${Math.floor(left / SECOND)} s`
  if (left < HOUR) return `${Math.floor(left / MINUTE)} min ${two(Math.floor((left % MINUTE) / SECOND))} s`
  if (left < DAY) return `${Math.floor(left / HOUR)} h ${two(Math.floor((left % HOUR) / MINUTE))} min`
  return `${Math.floor(left / DAY)} d ${Math.floor((left % DAY) / HOUR)} h`
}

/** `14 s ago`. */
export function ago(ms: number): string {
  return `${whole(ms)} ago`
}

/** What is left, as roughly as it is known: `about 45 s left`. */
export function remaining(ms: number): string {
  if (ms < 5 * SECOND) return 'a few seconds left'
  if (ms < MINUTE - 5 * SECOND) return `about ${Math.ceil(ms / (5 * SECOND)) * 5} s left`
  if (ms < HOUR - MINUTE) return `about ${Math.ceil(ms / MINUTE)} min left`
  return `about ${whole(Math.ceil(ms / (5 * MINUTE)) * 5 * MINUTE)} left`
}

/** `1 204 118`; at most three decimals. */
export function count(value: number): string {
  if (!Number.isFinite(value)) return '–'
  const [integer = '0', decimals] = String(Math.round(value * 1_000) / 1_000).split('.')
  if (integer.includes('e')) return integer
  const grouped = integer.replace(/\B(?=(\d{3})+(?!\d))/g, THIN)
  return decimals === undefined ? grouped : `${grouped}.${decimals}`
}

/** `19.3 days/s`; slow ones per minute or per hour, so that a digit is left to read. */
export function rate(perSecond: number, unit: string | null): string {
  const [value, per] =
    perSecond >= 0.1 ? [perSecond, 's'] : perSecond * 60 >= 0.1 ? [perSecond * 60, 'min'] : [perSecond * 3_600, 'h']
  const digits = value >= 100 ? 0 : 1
  return `${count(Number(value.toFixed(digits)))}${unit === null ? '' : ` ${unit}`}/${per}`
}

/** `64 %`. */
export function percent(share: number): string {
  return `${Math.floor(share * 100)} %`
}

/** The first letters of an id: of a ULID its time, which tells one run from the next; the tooltip has all of it. */
export function shortId(id: string): string {
  return id.length <= 14 ? id : id.slice(0, 10)
}

/** `…88a9e774.2260`: the part of a position that changes within a reader's day. */
export function shortPosition(position: string): string {
  const dash = position.indexOf('-')
  return dash < 0 ? position : `…${position.slice(dash + 1)}`
}

function two(value: number): string {
  return String(value).padStart(2, '0')
}
