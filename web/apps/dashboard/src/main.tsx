/** The composition root: connects, makes the stores, mounts the page. Nothing else knows where the server is. */

import { connect } from '@runstate/client'
import { RunstateProvider } from '@runstate/react'
import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import { createClock } from './store/clock.ts'
import { makeStores } from './store/make.ts'
import { paced } from './store/paced.ts'
import { createRoute } from './store/route.ts'
import './style/index.css'
import { App } from './ui/app.tsx'
import { ErrorBoundary } from './ui/error-boundary.tsx'
import { StoresProvider } from './ui/stores.tsx'

// The page and the API share a mount path: `api/…` stands beside `index.html`, wherever that is.
const client = paced(connect({ url: new URL('.', document.baseURI).href }))
const stores = makeStores(client, createClock(), createRoute(window))

const page = document.getElementById('page')
if (page === null) throw new Error('index.html has no element #page')
createRoot(page).render(
  <StrictMode>
    <ErrorBoundary>
      <RunstateProvider client={client}>
        <StoresProvider stores={stores}>
          <App />
        </StoresProvider>
      </RunstateProvider>
    </ErrorBoundary>
  </StrictMode>,
)
