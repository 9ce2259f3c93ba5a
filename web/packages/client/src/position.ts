/**
 * Epochs and positions (PROTOCOL V1, V4).
 *
 * Law: an epoch `"<n>-<8 hex>"` names one incarnation of the store, a position `"<epoch>.<revision>"` one commit in it.
 * Positions are ordered by the epoch's n, then by revision; two epochs of one n have no order.
 */
const EPOCH = /^(0|[1-9][0-9]{0,14})-[0-9a-f]{8}$/
const POSITION = /^((?:0|[1-9][0-9]{0,14})-[0-9a-f]{8})\.(0|[1-9][0-9]{0,14})$/

export interface Position {
  readonly epoch: string
  readonly revision: number
}

/** Return the number that orders epochs, null if `epoch` is not one. */
export function epochNumber(epoch: string): number | null {
  const match = EPOCH.exec(epoch)
  return match === null ? null : Number(match[1])
}

/** Return the position that `text` spells, null if it spells none. */
export function parsePosition(text: string): Position | null {
  const [, epoch, revision] = POSITION.exec(text) ?? []
  return epoch === undefined || revision === undefined ? null : { epoch, revision: Number(revision) }
}

/** Return the position as the wire writes it. */
export function formatPosition(position: Position): string {
  return `${position.epoch}.${position.revision}`
}

/** Return whether `one` lies before `other`. */
export function isBefore(one: Position, other: Position): boolean {
  if (one.epoch === other.epoch) return one.revision < other.revision
  return (epochNumber(one.epoch) ?? 0) < (epochNumber(other.epoch) ?? 0)
}

/** Return whether both are the same commit. */
export function isEqual(one: Position, other: Position | null): boolean {
  return other !== null && one.epoch === other.epoch && one.revision === other.revision
}
