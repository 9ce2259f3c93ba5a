"""runstate inside a FastAPI application: its routes below /runstate, its state a plain call away.

Run it with `uvicorn examples.embed_fastapi:host --timeout-graceful-shutdown 5`: streams would last for ever.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from runstate import Pipeline, Runstate, StageContext

nightly = Pipeline("nightly")


@nightly.stage
def load(ctx: StageContext) -> dict[str, int]:
    """A plain function: a child process of its own."""
    for done in range(1, 4):
        ctx.progress(done, total=3, unit="files")
    return {"files": 3}


app = Runstate([nightly], data="./.runstate")
host = FastAPI(lifespan=app.lifespan)
host.mount("/runstate", app)


@host.get("/")
async def home() -> dict[str, Any]:
    """The host's own page reads the one true state."""
    return await app.orchestrator.get_status("nightly")


@host.post("/start", status_code=202)
async def start() -> dict[str, Any]:
    """The host's own route starts a run."""
    run = await app.orchestrator.start("nightly", metadata={"from": "the host"})
    return {"run_id": run.key.id}
