import { describe, expect, test } from 'vitest'
import {
  ago,
  clock,
  count,
  dayClock,
  instant,
  percent,
  rate,
  remaining,
  shortId,
  shortPosition,
  took,
  upcoming,
  whole,
} from '../src/format.ts'

/** A moment given by the reader's own clock, whatever zone the test runs in. */
const at = (day: number, hour: number, minute = 0, second = 0) =>
  new Date(2026, 10, day, hour, minute, second).getTime()

describe('times', () => {
  test('a time of today is a clock, of another day a date, of another year a whole one', () => {
    expect(clock(at(23, 7, 4, 9))).toBe('07:04:09')
    expect(dayClock(at(23, 7, 4, 9), at(23, 23))).toBe('07:04:09')
    expect(dayClock(at(22, 23, 59, 59), at(23, 0))).toBe('22 Nov 23:59')
    expect(dayClock(new Date(2025, 11, 31, 8).getTime(), at(1, 0))).toBe('31 Dec 2025 08:00')
  })

  test('a time to come names its day', () => {
    expect(upcoming(at(23, 7, 0, 0), at(23, 0))).toBe('today 07:00')
    expect(upcoming(at(24, 7, 0, 0), at(23, 23))).toBe('tomorrow 07:00')
    expect(upcoming(at(25, 7, 0, 0), at(23, 23))).toBe('25 Nov 07:00')
  })

  test('what is no time is nothing', () => {
    expect(instant(null)).toBeNull()
    expect(instant('soon')).toBeNull()
    expect(instant('1970-01-01T00:00:01.500Z')).toBe(1_500)
  })
})

describe('durations', () => {
  test.each([
    [-5, '0 ms'],
    [350, '350 ms'],
    [1_000, '1.0 s'],
    [48_240, '48.2 s'],
    [59_949, '59.9 s'],
    [59_960, '1 min 00 s'],
    [86_400, '1 min 26 s'],
    [7_500_000, '2 h 05 min'],
    [97_200_000, '1 d 3 h'],
  ])('%d ms took %s', (ms, words) => {
    expect(took(ms)).toBe(words)
  })

  test('what goes on is in whole seconds and never negative', () => {
    expect(whole(-200)).toBe('0 s')
    expect(whole(59_999)).toBe('59 s')
    expect(whole(86_999)).toBe('1 min 26 s')
    expect(ago(14_200)).toBe('14 s ago')
  })

  test.each([
    [0, 'a few seconds left'],
    [46_000, 'about 50 s left'],
    [55_000, 'about 1 min left'],
    [61_000, 'about 2 min left'],
    [5_400_000, 'about 1 h 30 min left'],
  ])('%d ms: %s', (ms, words) => {
    expect(remaining(ms)).toBe(words)
  })
})

describe('numbers', () => {
  test.each([
    [0, '0'],
    [999, '999'],
    [1_204_118, '1\u202f204\u202f118'],
    [-1_664, '-1\u202f664'],
    [12.34567, '12.346'],
    [0.1 + 0.2, '0.3'],
    [1e21, '1e+21'],
    [Number.NaN, '–'],
  ])('%d reads %s', (value, words) => {
    expect(count(value)).toBe(words)
  })

  test.each([
    [19.34, 'days', '19.3 days/s'],
    [1234.5, null, '1\u202f235/s'],
    [0.05, 'files', '3 files/min'],
    [0.001, 'files', '3.6 files/h'],
  ])('%d per second of %s reads %s', (value, unit, words) => {
    expect(rate(value, unit)).toBe(words)
  })

  test('a share is never rounded up to done', () => {
    expect(percent(0.999)).toBe('99 %')
  })
})

describe('names', () => {
  test('an id is cut only when it is long', () => {
    expect(shortId('01JD3W8KZ4QX9M2T7B5C1RNPAE')).toBe('01JD3W8KZ4')
    expect(shortId('nightly-3')).toBe('nightly-3')
  })

  test('a position keeps what changes', () => {
    expect(shortPosition('1795442496-88a9e774.2260')).toBe('…88a9e774.2260')
    expect(shortPosition('odd')).toBe('odd')
  })
})
