/** A page of your own: the first pipeline, its stages, its latest commits, and a button. */
import { connect } from '@runstate/client'
import { RunstateProvider, useClient, useHistory, usePipelineState, useStage } from '@runstate/react'
import { StrictMode, useActionState } from 'react'
import { createRoot } from 'react-dom/client'

function Stage({ run, name }: { readonly run: string | null; readonly name: string }) {
  const stage = useStage(run, name)
  return <li>{`${name}: ${stage?.state ?? 'pending'}${stage?.progress ? `, ${stage.progress.done} done` : ''}`}</li>
}

function Page() {
  const { pipeline, state, status, run_id, stage_order, error, link } = usePipelineState()
  const { commits } = useHistory(run_id, { limit: 5 })
  const client = useClient()
  // Busy until the commit that a start makes is on the page; then what was refused, if anything.
  const [refused, start, isBusy] = useActionState(() => client.start(pipeline ?? '').then(() => '', String), '')
  if (state === null) return <p role="status">{`Nothing is known yet: ${link.state}.`}</p>
  const isFresh = link.state === 'live' || link.state === 'quiet'
  const stages = stage_order.map((name) => <Stage key={name} run={run_id} name={name} />)
  return (
    <form action={start} style={{ opacity: isFresh ? 1 : 0.5 }}>
      <h1>{`${pipeline}: ${state}`}</h1>
      <p role="status">{[link.state, error, refused].filter(Boolean).join(' · ')}</p>
      <input type="submit" value="Start" disabled={!isFresh || isBusy || status === 'running'} />
      <ul>{stages}</ul>
      <pre>{commits.map((one) => `${one.version} ${one.new_state}\n`)}</pre>
    </form>
  )
}

createRoot(document.body).render(
  <StrictMode>
    <RunstateProvider client={connect()}>
      <Page />
    </RunstateProvider>
  </StrictMode>,
)
