"""Work inside a web request, tracked: each request is a run that everybody can watch while it lasts.

Run it with `uvicorn examples.track_fastapi:host`, then `curl -X POST 'localhost:8000/predict?rows=3'` and look at /runstate.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI, HTTPException

from runstate import Pipeline, Runstate, StageContext
from runstate.client import Stopped
from runstate.core.errors import AlreadyRunning

nightly = Pipeline("nightly")


@nightly.stage
async def clean(ctx: StageContext) -> None:
    """A pipeline that runstate executes, beside the work that the host does itself."""
    ctx.log("nothing to clean")


app = Runstate([nightly], data="./.runstate")
host = FastAPI(lifespan=app.lifespan)
host.mount("/runstate", app)


@host.post("/predict")
async def predict(rows: int) -> dict[str, Any]:
    """Load, infer and answer; a stop from the dashboard ends the request."""
    try:
        async with app.track("predict", stages=["load", "infer"], metadata={"rows": rows}) as run:
            async with run.stage("load") as stage:
                for done in range(rows):
                    await asyncio.sleep(0)  # where the real work would be
                    stage.progress(done + 1, total=rows, unit="rows")
                stage.outputs(rows=rows)
            async with run.stage("infer"):
                if rows > 1000:
                    raise ValueError("too many rows")
    except AlreadyRunning as busy:
        raise HTTPException(409, str(busy)) from busy
    except Stopped as stopped:
        raise HTTPException(503, str(stopped)) from stopped
    except ValueError as mistake:
        raise HTTPException(422, str(mistake)) from mistake
    return {"run_id": run.run_id}
