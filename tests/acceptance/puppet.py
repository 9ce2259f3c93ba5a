"""Stages that a test holds by a string: they connect to the test and do what it says, line by line.

Copied beside the pipelines of a test, so that nothing of the test suite must be importable where stages run. A dead stage
is an end of the connection, which the kernel sends, however it died.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import socket

STUBBORN = {"cancelled": 0}


def hello(ctx):
    said = {"run_id": ctx.run_id, "stage": ctx.stage, "attempt": ctx.attempt, "pid": os.getpid()}
    return json.dumps(said).encode() + b"\n"


def address():
    return "127.0.0.1", int(os.environ["PUPPET_PORT"])


def obey(order, ctx):
    """Return the answer's line, and whether the stage goes on."""
    names = {"ctx": ctx, "os": os}
    try:
        if order["do"] == "exec":
            exec(order["code"], names)
            answer = {"value": names.get("answer")}
        else:
            return eval(order["code"], names), False
    except Exception as exc:
        answer = {"raised": f"{type(exc).__name__}: {exc}"}
    return json.dumps(answer).encode() + b"\n", True


def end(order, value):
    if order["do"] == "raise":
        raise value
    return value


def plain(ctx):
    """A plain stage that obeys; it holds a lock that no second one can take while this process lives."""
    alone = open(ctx.workdir / f"{ctx.stage}.flock", "w")  # closed by the end of the process
    fcntl.flock(alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with socket.create_connection(address()) as link, link.makefile("rb") as orders:
        link.sendall(hello(ctx))
        for line in orders:
            order = json.loads(line)
            answer, goes_on = obey(order, ctx)
            if not goes_on:
                return end(order, answer)
            link.sendall(answer)
    raise ConnectionError("the test has gone")


async def task(ctx):
    """An async stage that obeys."""
    orders, link = await asyncio.open_connection(*address(), limit=1 << 30)
    try:
        link.write(hello(ctx))
        while line := await orders.readline():
            order = json.loads(line)
            answer, goes_on = obey(order, ctx)
            if not goes_on:
                return end(order, answer)
            link.write(answer)
            await link.drain()
    finally:
        link.close()
    raise ConnectionError("the test has gone")
