/** A value that can be watched: the whole store machinery of the dashboard. */

export interface Readable<T> {
  /** The same object until it changes. */
  readonly get: () => T
  /** Call `listener` after each change; returns how to end it. */
  readonly subscribe: (listener: () => void) => () => void
}

export interface Writable<T> extends Readable<T> {
  readonly set: (next: T) => void
}

export function writable<T>(initial: T): Writable<T> {
  let value = initial
  const listeners = new Set<() => void>()
  return {
    get: () => value,
    set(next) {
      if (Object.is(next, value)) return
      value = next
      for (const listener of [...listeners]) listener()
    },
    subscribe(listener) {
      const own = () => listener()
      listeners.add(own)
      return () => {
        listeners.delete(own)
      }
    },
  }
}
