"""FastAPI on uvicorn: a status that is a model, as its documents advise, with an ETag."""

import socket
from typing import Annotated

import uvicorn
from fastapi import FastAPI, Header, Response
from pydantic import BaseModel

app = FastAPI()
ETAG = '"1-00000000.7"'


class Status(BaseModel):
    """A document of the usual size."""

    state: str = "running_driver"
    pad: str = "x" * 1200


CURRENT = Status()


@app.get("/status", response_model=Status)
async def status(response: Response, if_none_match: Annotated[str | None, Header()] = None):
    """Answer the current status."""
    if if_none_match == ETAG:
        return Response(status_code=304, headers={"ETag": ETAG})
    response.headers["ETag"] = ETAG
    return CURRENT


listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
print("ready", listener.getsockname()[1], flush=True)
config = uvicorn.Config(app, log_level="error", access_log=False)
uvicorn.Server(config).run([listener])
