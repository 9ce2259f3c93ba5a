/** Which client the hooks below read. The client is made and closed by whoever renders the provider, not by React. */

import type { Client } from '@runstate/client'
import { createContext, type ReactNode, useContext } from 'react'

const ClientContext = createContext<Client | null>(null)

export interface ProviderProps {
  readonly client: Client
  readonly children?: ReactNode
}

export function RunstateProvider({ client, children }: ProviderProps): ReactNode {
  return <ClientContext.Provider value={client}>{children}</ClientContext.Provider>
}

/** Return the client of the nearest provider; for commands (`start`, `stop`) and lists. */
export function useClient(): Client {
  const client = useContext(ClientContext)
  if (client === null) throw new Error('no client: wrap this component in <RunstateProvider client={connect()}>')
  return client
}
