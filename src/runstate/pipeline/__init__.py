"""From definitions to truth: what a pipeline is, what happens next, and who executes it."""
