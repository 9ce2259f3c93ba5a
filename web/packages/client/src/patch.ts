/**
 * Patches: RFC 6902 restricted to add, replace and remove (PROTOCOL F9).
 *
 * Law: values are never changed, and what a patch does not touch keeps its identity. Arrays are replaced whole, so no
 * path carries an index. Keys are never assigned, only spread: `__proto__` is a key like any other.
 */
import { canonical, isArray, isObject } from './canonical.ts'
import type { Json, JsonObject } from './documents.ts'

export type Operation =
  | { readonly op: 'add' | 'replace'; readonly path: string; readonly value: Json }
  | { readonly op: 'remove'; readonly path: string }

/** A patch that does not fit its document, or is not one of ours. */
export class Misfit extends Error {
  override readonly name = 'Misfit'
}

/** Return the operations that turn `before` into `after`, in the order of sorted keys. */
export function diff(before: Json, after: Json, path = ''): readonly Operation[] {
  if (!isObject(before) || !isObject(after)) {
    return isSame(before, after) ? [] : [{ op: 'replace', path, value: after }]
  }
  const keys = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort()
  return keys.flatMap((key): readonly Operation[] => {
    const place = `${path}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`
    const [old, now] = [own(before, key), own(after, key)]
    if (now === undefined) return [{ op: 'remove', path: place }]
    if (old === undefined) return [{ op: 'add', path: place, value: now }]
    return diff(old, now, place)
  })
}

/** Return `document` with `patch` applied; throws Misfit, and then nothing has happened. */
export function apply(document: Json, patch: Json): Json {
  if (!isArray(patch)) throw new Misfit('a patch is an array of operations')
  return patch.reduce<Json>((current, operation) => {
    if (!isObject(operation)) throw new Misfit('an operation is an object')
    const [op, path, value] = [own(operation, 'op'), own(operation, 'path'), own(operation, 'value')]
    if (typeof path !== 'string') throw new Misfit('an operation has a path')
    if (op === 'remove') return applyAt(current, op, path, null)
    if ((op !== 'add' && op !== 'replace') || value === undefined) throw new Misfit(`not an operation: ${op}`)
    return applyAt(current, op, path, value)
  }, document)
}

/** Return `after` with every part that equals its counterpart in `before` being that counterpart. */
export function share(before: Json | undefined, after: Json): Json {
  if (before === undefined || Object.is(before, after)) return after
  if (isArray(before) && isArray(after)) {
    const shared = after.map((value, index) => share(before[index], value))
    return same(before, shared) ? before : shared
  }
  if (isObject(before) && isObject(after)) {
    const shared = Object.entries(after).map(([key, value]) => [key, share(own(before, key), value)] as const)
    const isUnchanged =
      shared.length === Object.keys(before).length && shared.every(([key, value]) => own(before, key) === value)
    return isUnchanged ? before : Object.fromEntries(shared)
  }
  return after
}

function applyAt(document: Json, op: Operation['op'], path: string, value: Json): Json {
  if (path === '') {
    if (op === 'remove') throw new Misfit('the whole document cannot be removed')
    return value
  }
  if (!path.startsWith('/')) throw new Misfit(`${path} is not a JSON Pointer`)
  if (!isObject(document)) throw new Misfit(`there is no object for ${path}`)
  const end = path.indexOf('/', 1)
  const key = (end < 0 ? path.slice(1) : path.slice(1, end)).replaceAll('~1', '/').replaceAll('~0', '~')
  const found = own(document, key)
  if (end >= 0) {
    if (found === undefined) throw new Misfit(`there is no member ${key}`)
    return { ...document, [key]: applyAt(found, op, path.slice(end), value) }
  }
  if (op !== 'add' && found === undefined) throw new Misfit(`there is no member ${key} to ${op}`)
  if (op !== 'remove') return { ...document, [key]: value }
  return Object.fromEntries(Object.entries(document).filter(([name]) => name !== key))
}

function own(value: JsonObject, key: string): Json | undefined {
  return Object.hasOwn(value, key) ? value[key] : undefined
}

function isSame(before: Json, after: Json): boolean {
  return before === after || canonical(before) === canonical(after)
}

function same(before: readonly Json[], after: readonly Json[]): boolean {
  return before.length === after.length && after.every((value, index) => value === before[index])
}
