import { ProblemError } from '@runstate/client'
import { useClient } from '@runstate/react'
import { type ReactNode, useState } from 'react'

/** Trades a token for a session; shown while the server wants one. */
export function Login(): ReactNode {
  const client = useClient()
  const [token, setToken] = useState('')
  const [busy, setBusy] = useState(false)
  const [refusal, setRefusal] = useState<string | null>(null)
  const login = async () => {
    setBusy(true)
    setRefusal(null)
    try {
      await client.login(token)
    } catch (reason) {
      const isWrong = reason instanceof ProblemError && reason.problem.status !== 0 && reason.problem.status < 500
      setRefusal(isWrong ? 'The server does not know this token.' : 'The server did not answer. Try again.')
    }
    setBusy(false)
  }
  return (
    <form
      className="empty login"
      onSubmit={(event) => {
        event.preventDefault()
        void login()
      }}
    >
      <h1>This server wants a token</h1>
      <p>
        It is the one that <code>runstate serve --token</code> or its tokens file names. It is sent once; the browser
        keeps a session that no script can read.
      </p>
      <label className="field">
        Token
        <input
          type="password"
          autoComplete="current-password"
          required
          value={token}
          onChange={(event) => setToken(event.target.value)}
        />
      </label>
      <p className="refusal" role="alert">
        {refusal}
      </p>
      <button type="submit" className="start" disabled={busy} aria-busy={busy}>
        {busy ? 'Logging in…' : 'Log in'}
      </button>
    </form>
  )
}
