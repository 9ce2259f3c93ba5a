"""runstate inside a Starlette application: its routes below /runstate, its state a plain call away.

Run it with `uvicorn examples.embed_starlette:app --timeout-graceful-shutdown 5`: streams would last for ever.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from runstate import Pipeline, Runstate, StageContext

nightly = Pipeline("nightly")


@nightly.stage
async def load(ctx: StageContext) -> dict[str, int]:
    """A stage that says how far it is."""
    for done in range(1, 4):
        ctx.progress(done, total=3, unit="files")
    return {"files": 3}


runstate = Runstate([nightly], data="./.runstate")


async def home(_: Request) -> Response:
    """The host's own page reads the one true state."""
    return JSONResponse({"nightly": runstate.manager.get_state("nightly").state})


async def start(_: Request) -> Response:
    """The host's own route starts a run."""
    run = await runstate.orchestrator.start("nightly", metadata={"from": "the host"})
    return JSONResponse({"run_id": run.key.id}, status_code=202)


app = Starlette(
    routes=[Route("/", home), Route("/start", start, methods=["POST"]), Mount("/runstate", runstate)],
    lifespan=runstate.lifespan,
)
