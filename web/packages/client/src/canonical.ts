/**
 * Canonical JSON (RFC 8785) and its digest.
 *
 * Law: what `canonical` gives is what the server stored, byte for byte, or it refuses. JSON.stringify already writes
 * numbers and text as RFC 8785 wants them; sorting keys by UTF-16 code units is what `sort()` does.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js'
import type { Json, JsonObject } from './documents.ts'

const MAX_DEPTH = 64
const LONE_SURROGATE = /\p{Surrogate}/u

/** A value that no document may hold. */
export class InvalidValue extends Error {
  override readonly name = 'InvalidValue'
}

/** Return the canonical text of a JSON value; throws InvalidValue for what PROTOCOL §2 refuses. */
export function canonical(value: Json, depth = 0): string {
  if (value === null || typeof value === 'boolean') return String(value)
  if (depth > MAX_DEPTH) throw new InvalidValue(`nested deeper than ${MAX_DEPTH} levels`)
  if (typeof value === 'string') return text(value)
  if (typeof value === 'number') return number(value)
  if (isArray(value)) return `[${value.map((member) => canonical(member, depth + 1)).join(',')}]`
  const members = Object.keys(value).sort()
  return `{${members.map((key) => `${text(key)}:${canonical(member(value, key), depth + 1)}`).join(',')}}`
}

/** Return `sha-256:<hex>` of a canonical text (PROTOCOL D6). */
export function digest(canonicalText: string): string {
  return `sha-256:${bytesToHex(sha256(utf8ToBytes(canonicalText)))}`
}

/** Array.isArray that knows readonly arrays. */
export function isArray(value: Json): value is readonly Json[] {
  return Array.isArray(value)
}

/** Whether the value is an object in the sense of JSON. */
export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !isArray(value)
}

function member(value: JsonObject, key: string): Json {
  const found = value[key]
  if (found === undefined) throw new InvalidValue(`${key} is undefined, which JSON has no word for`)
  return found
}

function text(value: string): string {
  if (LONE_SURROGATE.test(value)) throw new InvalidValue('a lone surrogate is not UTF-8 text')
  return JSON.stringify(value)
}

function number(value: number): string {
  if (!Number.isFinite(value)) throw new InvalidValue(`JSON has no number for ${value}`)
  // ES6 writes whole floats below 1e21 without exponent, so a reader would take this for an integer it cannot hold.
  if (Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21) {
    throw new InvalidValue(`${value} is beyond ±(2^53−1)`)
  }
  return JSON.stringify(value)
}
