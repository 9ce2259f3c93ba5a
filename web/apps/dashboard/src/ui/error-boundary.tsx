import { Component, type ReactNode } from 'react'

interface Props {
  readonly children: ReactNode
}

/** A bug of this page shows as one, with its words: never as an empty page or as an old state. */
export class ErrorBoundary extends Component<Props, { readonly error: unknown }> {
  override state = { error: null }

  static getDerivedStateFromError(error: unknown) {
    return { error: error ?? 'unknown' }
  }

  override render(): ReactNode {
    if (this.state.error === null) return this.props.children
    return (
      <div className="empty" role="alert">
        <h1>This page has a bug and cannot go on</h1>
        <p>The runs are not affected. Reload the page; if it happens again, report these words:</p>
        <pre>{String(this.state.error)}</pre>
        <button type="button" onClick={() => location.reload()}>
          Reload
        </button>
      </div>
    )
  }
}
