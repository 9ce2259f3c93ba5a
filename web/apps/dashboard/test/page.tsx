/** The whole page over a scripted client and a clock that the test moves. */

import { RunstateProvider } from '@runstate/react'
import { act, render } from '@testing-library/react'
import { StrictMode } from 'react'
import { type FakeClient, fakeClient } from '../../../packages/react/test/fake-client.ts'
import { createClock } from '../src/store/clock.ts'
import { makeStores } from '../src/store/make.ts'
import { writable } from '../src/store/observable.ts'
import { parseRoute } from '../src/store/route.ts'
import { App } from '../src/ui/app.tsx'
import { StoresProvider } from '../src/ui/stores.tsx'

export interface Page {
  readonly client: FakeClient
  readonly text: () => string
  /** Move the reader's clock to `now` and let a second pass. */
  readonly tick: (now: number) => void
  readonly go: (hash: string) => void
  /** Let answers that were given have their effect. */
  readonly settle: () => Promise<void>
}

export function openPage({
  now,
  show,
  hash = '#/pipelines/market',
}: {
  readonly now: number
  readonly hash?: string
  readonly show?: Parameters<FakeClient['show']>[0]
}): Page {
  const client = fakeClient()
  if (show !== undefined) client.show(show)
  let time = now
  const ticks = new Set<() => void>()
  const route = writable(parseRoute(hash))
  const clock = createClock({
    now: () => time,
    everySecond(tick) {
      ticks.add(tick)
      return () => ticks.delete(tick)
    },
  })
  const stores = makeStores(client, clock, route)
  const { container } = render(
    <StrictMode>
      <RunstateProvider client={client}>
        <StoresProvider stores={stores}>
          <App />
        </StoresProvider>
      </RunstateProvider>
    </StrictMode>,
  )
  return {
    client,
    text: () => container.textContent ?? '',
    tick(to) {
      time = to
      act(() => {
        for (const tick of [...ticks]) tick()
      })
    },
    go: (hash) => act(() => route.set(parseRoute(hash))),
    settle: () => act(() => new Promise<void>((resolve) => setImmediate(resolve))),
  }
}
