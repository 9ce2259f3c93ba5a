import type { View } from '@runstate/client'
import { useView } from './use-view.ts'

const link = (view: View): View['link'] => view.link

/** Return how the view is fed: the link's state (PROTOCOL F12), since when, and when a frame was last heard. */
export function useLink(): View['link'] {
  return useView(link)
}
