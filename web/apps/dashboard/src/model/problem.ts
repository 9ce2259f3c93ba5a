/** What went wrong with a command, in one sentence that says what is true now. Pure. */

import { ProblemError } from '@runstate/client'
import { meanwhile } from './diff.ts'

export type Verb = 'start' | 'stop' | 'retry' | 'schedule' | 'acknowledge'

const PAST: Readonly<Record<Verb, string>> = {
  start: 'Not started',
  stop: 'Not stopped',
  retry: 'Not retried',
  schedule: 'Schedule not changed',
  acknowledge: 'Not acknowledged',
}

/** No answer is no refusal. */
const UNKNOWN = 'The server did not answer. The command may still have arrived; if so, this page will show it.'

/** Return the sentence for `reason`; `seen` is the document that the reader acted on. */
export function sentenceFor(verb: Verb, reason: unknown, seen?: object): string {
  if (!(reason instanceof ProblemError)) return UNKNOWN
  const { code, status, title, detail, document } = reason.problem
  switch (code) {
    case 'unreachable':
    case 'bad_answer':
      return UNKNOWN
    case 'conflict':
      return seen === undefined || document === undefined
        ? `${PAST[verb]}: ${said(detail, title, code)}`
        : `${PAST[verb]}: this changed meanwhile: ${meanwhile(seen, document)}. Look again, then decide.`
    case 'already_running':
      return `${PAST[verb]}: another run is already active.`
    case 'blocked':
      return `${PAST[verb]}: ${said(detail, title, code)}`
    case 'not_allowed':
      return verb === 'stop' ? 'Not stopped: the run has already ended.' : `${PAST[verb]}: ${said(detail, title, code)}`
    case 'unauthorized':
      return `${PAST[verb]}: the server wants a token.`
    case 'forbidden':
      return `${PAST[verb]}: this access may only read.`
    case 'unavailable':
    case 'behind':
      return `${PAST[verb]}: the server cannot commit right now, and nothing has changed. Try again later.`
    default:
      return `${PAST[verb]}: ${said(detail, title, `${status} ${code}`)}`
  }
}

function said(...texts: readonly (string | undefined)[]): string {
  const text = texts.find((candidate) => candidate !== undefined && candidate !== '') ?? 'the server refused'
  return /[.!?]$/.test(text) ? text : `${text}.`
}
