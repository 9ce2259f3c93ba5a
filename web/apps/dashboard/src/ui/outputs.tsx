import type { RunDocument } from '@runstate/client'
import type { ReactNode } from 'react'
import { count } from '../format.ts'
import { brief } from '../model/diff.ts'
import { fileHref, filesOf, reportOf } from '../model/files.ts'

/** What the finished stages say that they made; files open in a tab of their own. */
export function Outputs({ run }: { readonly run: RunDocument }): ReactNode {
  const files = filesOf(run).map(({ path }) => path)
  const stages = run.stage_order.filter((stage) => Object.keys(run.stages[stage]?.outputs ?? {}).length > 0)
  if (stages.length === 0) return null
  return (
    <section aria-label="Outputs">
      <h2>Outputs</h2>
      <dl className="outputs">
        {stages.flatMap((stage) =>
          Object.entries(run.stages[stage]?.outputs ?? {}).map(([name, value]) => (
            <div key={`${stage} ${name}`}>
              <dt>
                {stage} {name}
              </dt>
              <dd title={typeof value === 'string' ? value : JSON.stringify(value)}>
                {typeof value === 'string' && run.run_id !== null && files.includes(value) ? (
                  <a href={fileHref(run.run_id, value)} target="_blank" rel="noreferrer">
                    {value.split('/').at(-1)}
                  </a>
                ) : typeof value === 'number' ? (
                  count(value)
                ) : (
                  brief(value)
                )}
              </dd>
            </div>
          )),
        )}
      </dl>
    </section>
  )
}

/** The run's report in place. It has no rights: no script, no forms, no way to this page. */
export function Report({ run }: { readonly run: RunDocument }): ReactNode {
  const report = reportOf(filesOf(run))
  if (report === null || run.run_id === null) return null
  const href = fileHref(run.run_id, report.path)
  return (
    <section aria-labelledby="report" className="report">
      <h2 id="report">
        Report{' '}
        <a href={href} target="_blank" rel="noreferrer">
          open alone
        </a>
      </h2>
      <iframe title={`Report of run ${run.run_id}`} src={href} sandbox="" />
    </section>
  )
}
