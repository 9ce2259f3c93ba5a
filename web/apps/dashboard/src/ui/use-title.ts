import { useEffect } from 'react'
import type { Freshness } from '../model/freshness.ts'

/** Say in the browser's tab how things stand; a page that is not current says so there too. */
export function useTitle(text: string, { current, word }: Freshness): void {
  useEffect(() => {
    document.title = `${current ? '' : `(${word}) `}${text} · runstate`
  }, [text, current, word])
}
