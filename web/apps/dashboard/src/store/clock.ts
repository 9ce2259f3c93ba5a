/** The reader's clock, ticking once a second while somebody looks at it, and not otherwise. */

import { type Readable, writable } from './observable.ts'

/** What a clock needs from the world. */
export interface World {
  readonly now: () => number
  /** Call `tick` every second; returns how to end it. */
  readonly everySecond: (tick: () => void) => () => void
}

const BROWSER: World = {
  now: () => Date.now(),
  everySecond(tick) {
    const timer = setInterval(tick, 1_000)
    return () => clearInterval(timer)
  },
}

export function createClock(world: World = BROWSER): Readable<number> {
  const time = writable(world.now())
  const tick = () => time.set(world.now())
  let watchers = 0
  let halt = () => {}
  return {
    get: time.get,
    subscribe(listener) {
      if (watchers++ === 0) {
        tick()
        halt = world.everySecond(tick)
      }
      const end = time.subscribe(listener)
      return () => {
        end()
        if (--watchers === 0) halt()
      }
    },
  }
}
