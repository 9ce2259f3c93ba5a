import type { ReactNode } from 'react'

/** What to do when there is nothing to show. */
export function NoPipelines(): ReactNode {
  return (
    <div className="empty">
      <h1>This server has no pipelines yet</h1>
      <p>
        Write one, and serve the file that defines it. <code>runstate init</code> makes a commented example.
      </p>
      <pre>{`# pipelines.py
from runstate import Pipeline

hello = Pipeline("hello")

@hello.stage
async def greet(ctx):
    ctx.progress(1, total=1, unit="greeting")`}</pre>
      <pre>runstate serve pipelines.py</pre>
    </div>
  )
}

export function Waiting(): ReactNode {
  return (
    <div className="empty" role="status">
      <h1>Waiting for the server</h1>
      <p>Nothing is known yet. The page shows the state as soon as the server has said it, and keeps asking.</p>
    </div>
  )
}

export function NoSuchPipeline({ name }: { readonly name: string }): ReactNode {
  return (
    <div className="empty">
      <h1>No pipeline is called {name}</h1>
      <p>
        <a href="#/">See which there are</a>, or serve the file that defines it.
      </p>
    </div>
  )
}

export function NoSuchRun({ id, back }: { readonly id: string; readonly back: string }): ReactNode {
  return (
    <div className="empty">
      <h1>
        Run <span className="mono">{id}</span> is not here
      </h1>
      <p>
        It is not among the latest runs. <code>runstate show {id}</code> tells whether the server still has it.{' '}
        <a href={back}>Go to the current run</a>.
      </p>
    </div>
  )
}
