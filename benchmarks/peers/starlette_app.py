"""Starlette on uvicorn: a WebSocket and an SSE stream per reader, each with a queue; and a status with an ETag."""

import asyncio
import contextlib
import socket

import uvicorn
from demand import demanded
from starlette.applications import Starlette
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute

readers = set()
BODY = b'{"state":"running_driver","pad":"' + b"x" * 1200 + b'"}'
ETAG = '"1-00000000.7"'


async def listen(websocket):
    """A WebSocket."""
    await websocket.accept()
    queue = asyncio.Queue()
    readers.add(queue)
    try:
        while True:
            await websocket.send_text(await queue.get())
    finally:
        readers.discard(queue)


async def stream(_):
    """Server-sent events."""
    queue = asyncio.Queue()
    readers.add(queue)

    async def events():
        try:
            while True:
                yield f"data: {await queue.get()}\n\n"
        finally:
            readers.discard(queue)

    return StreamingResponse(events(), media_type="text/event-stream")


async def status(request):
    """A document that was made before."""
    if request.headers.get("if-none-match") == ETAG:
        return Response(status_code=304, headers={"ETag": ETAG})
    return Response(BODY, media_type="application/json", headers={"ETag": ETAG})


async def tell():
    """Put each message into every reader's queue."""
    async for message in demanded():
        for queue in readers:
            queue.put_nowait(message)


@contextlib.asynccontextmanager
async def lifespan(_):
    """Tell as long as the server lives."""
    telling = asyncio.create_task(tell())
    yield
    telling.cancel()


app = Starlette(
    routes=[WebSocketRoute("/ws", listen), Route("/stream", stream), Route("/status", status)], lifespan=lifespan
)
if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print("ready", listener.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="error", ws_per_message_deflate=False)
    uvicorn.Server(config).run([listener])
