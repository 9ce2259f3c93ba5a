import type { RunDocument } from '@runstate/client'
import type { ReactNode } from 'react'
import { Facts } from './facts.tsx'

/** The user's own members of the run, as they are. */
export function Metadata({ metadata }: { readonly metadata: RunDocument['metadata'] }): ReactNode {
  const members = Object.entries(metadata)
  if (members.length === 0) return null
  return (
    <Facts
      title="Metadata"
      mono
      facts={members.map(([name, value]) => [name, typeof value === 'string' ? value : JSON.stringify(value)] as const)}
    />
  )
}
