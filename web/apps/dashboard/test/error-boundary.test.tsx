import { cleanup, render, screen } from '@testing-library/react'
import { afterEach, expect, test } from 'vitest'
import { ErrorBoundary } from '../src/ui/error-boundary.tsx'

afterEach(cleanup)

test('a bug of the page shows as one, with its words', () => {
  function Broken(): never {
    throw new RangeError('no such stage')
  }
  const page = (
    <ErrorBoundary>
      <Broken />
    </ErrorBoundary>
  )
  render(page, { onCaughtError: () => {} })

  expect(screen.getByRole('alert').textContent).toContain('RangeError: no such stage')
  expect(screen.getByRole('button', { name: 'Reload' })).toBeTruthy()
})
