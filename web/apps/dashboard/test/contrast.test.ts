// @vitest-environment node
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'

const css = readFileSync(new URL('../src/style/tokens.css', import.meta.url), 'utf8')
const [light = '', dark = ''] = palettes(':root {')
const [greyLight = '', greyDark = ''] = palettes('.page[data-grey="true"] nav {')

/** Every text on every ground it stands on. */
const PAIRS = [
  ...['card', 'ground', 'sunk'].flatMap((ground) => ['ink', 'dim'].map((text) => [text, ground] as const)),
  ...['run', 'ok', 'bad', 'warn'].flatMap(
    (state) =>
      [
        [state, 'card'],
        [state, `${state}-tint`],
        [state, 'sunk'],
      ] as const,
  ),
  ['dim', 'sunk'],
  ['ink', 'bad-tint'],
  ['ink', 'warn-tint'],
] as const

describe.each([
  ['light', [light]],
  ['dark', [light, dark]],
  ['grey, light', [light, greyLight]],
  ['grey, dark', [light, dark, greyLight, greyDark]],
])('%s', (_, layers) => {
  const colours = Object.fromEntries(
    layers.flatMap((layer) => [...layer.matchAll(/--([\w-]+):\s*(#\w{6})/g)].map(([, name, value]) => [name, value])),
  )
  test.each(PAIRS)('%s on %s is at least 4.5:1', (text, ground) => {
    expect(ratio(colours[text], colours[ground])).toBeGreaterThanOrEqual(4.5)
  })
})

/** Return the bodies of the blocks that begin with `head`, in order. */
function palettes(head: string): string[] {
  return css
    .split(head)
    .slice(1)
    .map((rest) => rest.slice(0, rest.indexOf('}')))
}

/** WCAG 2: contrast of two colours `#rrggbb`. */
function ratio(a: string | undefined, b: string | undefined): number {
  const [one, other] = [luminance(a ?? ''), luminance(b ?? '')]
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05)
}

function luminance(colour: string): number {
  const [r = Number.NaN, g = Number.NaN, b = Number.NaN] = [1, 3, 5].map((from) => {
    const part = Number.parseInt(colour.slice(from, from + 2), 16) / 255
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * r + 0.7152 * g + 0.0722 * b
}
