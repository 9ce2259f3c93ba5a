import type { ReactNode } from 'react'

interface Props {
  readonly title: string
  readonly facts: readonly (readonly [name: string, value: ReactNode, tooltip?: string | undefined])[]
  readonly mono?: boolean
}

/** A card of names and values. */
export function Facts({ title, facts, mono = false }: Props): ReactNode {
  return (
    <section aria-label={title}>
      <h2>{title}</h2>
      <dl className={mono ? 'mono' : undefined}>
        {facts.map(([name, value, tooltip]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd title={tooltip ?? (typeof value === 'string' ? value : undefined)}>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  )
}
