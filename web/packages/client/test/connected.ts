/** A client in a world that a test plays. */
import { vi } from 'vitest'
import { type ConnectOptions, connect } from '../src/index.ts'
import { at, change, hello, pipeline, run, snapshot } from './frames.ts'
import { manualClock, playedFetch, playedSockets } from './world.ts'

export const URL_OF_SERVER = 'http://server.test/base'

export function world(options: ConnectOptions = {}) {
  const clock = manualClock()
  const { Socket, sockets } = playedSockets()
  const { fetch, asked } = playedFetch()
  const played = { clock, random: () => 0.5, fetch, WebSocket: Socket }
  const client = connect({ url: URL_OF_SERVER, ...played, ...options })
  return { client, clock, sockets, asked, socket: sockets[0] }
}

export function live(options: ConnectOptions = {}) {
  const { socket, ...rest } = world(options)
  if (socket === undefined) throw new Error('no socket was opened')
  socket.say(hello(10))
  socket.say(snapshot(10, change(pipeline(1, 'r1'), at(9)), change(run(1, 'starting'), at(10))))
  return { socket, ...rest }
}

/** Let promises that are settled go on. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve()
  await vi.waitFor(() => undefined)
}
