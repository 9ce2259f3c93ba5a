import type { Json, PipelineDocument, StartBody } from '@runstate/client'
import { type ReactNode, useId, useState } from 'react'
import { Dialog } from './dialog.tsx'

interface Props {
  readonly pipeline: PipelineDocument
  readonly onCancel: () => void
  readonly onStart: (body: StartBody) => void
}

/** Start with metadata, some of the stages, or in spite of the pipeline's health. */
export function StartDialog({ pipeline, onCancel, onStart }: Props): ReactNode {
  const { stage_order: order, health } = pipeline
  const [text, setText] = useState('')
  const [left, setLeft] = useState<readonly string[]>([])
  const [override, setOverride] = useState(false)
  const [trouble, setTrouble] = useState<string | null>(null)
  const hint = useId()
  const chosen = order.filter((stage) => !left.includes(stage))
  const start = () => {
    const metadata = metadataOf(text)
    if (typeof metadata === 'string') return setTrouble(metadata)
    if (chosen.length === 0) return setTrouble('Choose at least one stage.')
    onStart({
      metadata,
      ...(left.length === 0 ? {} : { stages: chosen }),
      ...(override ? { override } : {}),
    })
  }
  return (
    <Dialog
      title={`Start ${pipeline.pipeline}`}
      words="A new run begins with these words and stages. Other stages are skipped."
      onCancel={onCancel}
      go="Start the run"
      onGo={start}
    >
      <label className="field">
        <span>
          Metadata, one <code>name = value</code> per line
        </span>
        <textarea
          rows={4}
          spellCheck={false}
          value={text}
          placeholder={'as_of = 2011-04-01\ndays = 30'}
          aria-describedby={hint}
          onChange={(event) => {
            setText(event.target.value)
            setTrouble(null)
          }}
        />
      </label>
      <p id={hint} className="hint">
        A value that is JSON (<code>30</code>, <code>true</code>, <code>["a"]</code>) is taken as that, any other as
        text.
      </p>
      <fieldset>
        <legend>Stages</legend>
        {order.map((stage) => (
          <label key={stage}>
            <input
              type="checkbox"
              checked={!left.includes(stage)}
              onChange={() => setLeft(left.includes(stage) ? left.filter((one) => one !== stage) : [...left, stage])}
            />
            {stage}
          </label>
        ))}
      </fieldset>
      {health.state !== 'healthy' && (
        <label className="check">
          <input type="checkbox" checked={override} onChange={() => setOverride(!override)} />
          Start although its health is {health.state}
        </label>
      )}
      <p className="refusal" role="alert">
        {trouble}
      </p>
    </Dialog>
  )
}

/** Return the members that `text` writes, or what is wrong with it. */
export function metadataOf(text: string): Readonly<Record<string, Json>> | string {
  const members: [string, Json][] = []
  for (const [at, line] of text.split('\n').entries()) {
    if (line.trim() === '') continue
    const equals = line.indexOf('=')
    const name = line.slice(0, Math.max(0, equals)).trim()
    if (name === '') return `Line ${at + 1} is not of the form name = value.`
    if (members.some(([other]) => other === name)) return `${name} stands twice.`
    members.push([name, jsonOr(line.slice(equals + 1).trim())])
  }
  return Object.fromEntries(members)
}

function jsonOr(text: string): Json {
  try {
    return JSON.parse(text) as Json
  } catch {
    return text
  }
}
