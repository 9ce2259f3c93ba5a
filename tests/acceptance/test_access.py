"""Who may do what (§6), over the real server: tokens and their scope, browsers, pages of other servers, the end of a token.

Longer than other files: one rule's cases stand together.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.acceptance.harness import RUNSTATE, TWO_STAGES
from tests.acceptance.judge import get
from tests.acceptance.puppets import PATIENCE_S
from tests.acceptance.watching import SseWatch

CONTROL, READ, EXPIRED = "control-secret", "read-only-secret", "expired-secret-x"
FRIEND = "https://dash.example:8443"
TOKENS = f"""
[[token]]
name = "ops"
token = "{CONTROL}"
scope = "control"

[[token]]
name = "wall"
token = "{READ}"
scope = "read"

[[token]]
name = "old"
token = "{EXPIRED}"
scope = "control"
expires = 2020-01-01T00:00:00Z
"""


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def refused(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status, (answer.request.method, answer.request.url, answer.text)
    assert (
        answer.headers["content-type"] == "application/problem+json" and "no-store" in answer.headers["cache-control"]
    )
    assert answer.json()["code"] == {401: "unauthorized", 403: "forbidden"}[status]
    if status == 401:
        assert answer.headers["www-authenticate"].startswith("Bearer")
    for secret in (CONTROL, READ, EXPIRED):
        assert secret not in answer.text


def serve(bench, tokens: str, *options: str, name: str = "guarded"):
    """Return a server with tokens; its own client is the controller."""
    file = bench.folder / f"{name}.toml"
    file.write_text(tokens)
    server = bench.serve(
        TWO_STAGES,
        "--tokens",
        str(file),
        "--allow-origin",
        FRIEND,
        *options,
        data=bench.folder / name,
        name=f"{name}.py",
    )
    server.http.headers.update(bearer(CONTROL))
    return server


@pytest.fixture(scope="module")
def bench(shared_bench):
    return shared_bench


@pytest.fixture(scope="module")
def server(bench):
    server = serve(bench, TOKENS)
    run_id = server.start_run(stages=["fetch"])["run_id"]
    bench.puppets.next("fetch").returns()
    wait_over(server, run_id)
    return server


@pytest.fixture(scope="module")
def run_id(server) -> str:
    return get(server.http, "/api/pipeline/status").json()["run_id"]


def wait_over(server, run_id: str) -> dict:
    """Follow a run by long-poll to its end; return its document."""
    answer = get(server.http, f"/api/runs/{run_id}")
    while answer.json()["ended_at"] is None:
        headers = {"If-None-Match": answer.headers["etag"], "Prefer": "wait=30"}
        answer = server.http.get(f"/api/runs/{run_id}", headers=headers)
    return answer.json()


def reads(run_id: str) -> list[str]:
    return [
        "/api/pipeline/status", "/api/pipelines", "/api/pipelines/work", "/api/pipelines/work/status", "/api/runs",
        f"/api/runs/{run_id}", f"/api/runs/{run_id}/versions/1", f"/api/runs/{run_id}/history", f"/api/runs/{run_id}/logs",
    ]  # fmt: skip


def commands(run_id: str) -> list[tuple[str, str]]:
    return [
        ("POST", "/api/pipeline/start"), ("POST", "/api/pipeline/stop"), ("POST", "/api/pipelines/work/start"),
        ("POST", f"/api/runs/{run_id}/stop"), ("POST", f"/api/runs/{run_id}/retry"),
        ("PUT", "/api/pipelines/work/schedule"), ("POST", "/api/pipelines/work/acknowledge"), ("POST", "/api/pipelines/work/runs"),
    ]  # fmt: skip


STRANGERS = [
    {}, bearer("wrong-secret-zz"), bearer(EXPIRED), bearer(CONTROL + "x"), bearer(CONTROL[:-1]), bearer(CONTROL.upper()),
    {"Authorization": f"Basic {CONTROL}"}, {"Authorization": CONTROL}, {"Authorization": "Bearer"}, {"Cookie": f"runstate_session={CONTROL}"},
    {"Cookie": "runstate_session=ops."}, {"Cookie": "runstate_session="}, {"X-Token": CONTROL},
    {"Authorization": b"Bearer \xff\xfe\xe9"}, bearer("x" * 30_000),
]  # fmt: skip


def test_without_a_token_nothing_is_told(server, run_id):
    """Every route under `/api` and `/metrics`, known or not, whatever the method: 401, before anything else is looked at."""
    with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as http:
        for headers in STRANGERS:
            refused(http.get("/api/pipeline/status", headers=headers), 401)
            refused(http.post("/api/pipeline/start", headers=headers, json={}), 401)
        for path in [
            *reads(run_id),
            "/api/stream",
            "/metrics",
            "/api",
            "/api/",
            "/api/nothing",
            "/api/runs/none",
            "/%61pi/runs",
            "/api/runs?x=1",
        ]:
            refused(http.get(path), 401)
        for method, path in commands(run_id):
            refused(http.request(method, path, json={}), 401)
            refused(http.request(method, path, content=b"{"), 401)
        refused(http.delete("/api/runs"), 401)
        # The token in the query is none: it would stand in logs.
        for name in ("token", "access_token", "authorization"):
            refused(http.get(f"/api/pipeline/status?{name}={CONTROL}"), 401)
        for path in ("/health", "/ready"):
            assert http.get(path).status_code == 200
        assert http.get("/").status_code not in (401, 403), "the dashboard's files need no token"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_token_opens_what_its_scope_says(server, bench, run_id, scheme):
    """`control` may all; `read` may all but commands, which are 403 and change nothing."""
    head = get(server.http, "/api/pipelines").headers["runstate-position"]
    with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as http:
        for token in (READ, CONTROL):
            for path in reads(run_id):
                assert http.get(path, headers={"Authorization": f"{scheme} {token}"}).status_code == 200, path
        for method, path in commands(run_id):
            refused(http.request(method, path, json={}, headers=bearer(READ)), 403)
        assert get(server.http, "/api/pipelines").headers["runstate-position"] == head
        assert http.get("/api/nothing", headers=bearer(READ)).status_code == 404
        assert http.head("/api/pipeline/status", headers=bearer(READ)).status_code == 200
    answer = server.http.post("/api/pipeline/start", json={"stages": ["fetch"]})
    assert answer.status_code == 202 and answer.json()["trigger"] == {"kind": "manual", "by": "ops"}
    bench.puppets.next(run_id=answer.json()["run_id"]).returns()
    wait_over(server, answer.json()["run_id"])


def test_a_key_belongs_to_its_token(bench):
    """C3: the same Idempotency-Key under another token is another command."""
    both = TOKENS + '[[token]]\nname = "second"\ntoken = "second-secret"\nscope = "control"\n'
    server = serve(bench, both, name="keys")
    key = {"Idempotency-Key": "one"}
    first = server.http.post("/api/pipeline/start", json={"stages": ["fetch"]}, headers=key)
    assert first.status_code == 202
    assert server.http.post("/api/pipeline/start", json={"stages": ["fetch"]}, headers=key).content == first.content
    other = server.http.post("/api/pipeline/start", json={"stages": ["fetch"]}, headers=key | bearer("second-secret"))
    assert other.status_code == 409 and other.json()["code"] == "already_running"
    bench.puppets.next(run_id=first.json()["run_id"]).returns()
    wait_over(server, first.json()["run_id"])


def test_streams_need_a_token_and_take_one_that_reads(server):
    """WebSocket and SSE: 401 before the upgrade without one; a `read` token is enough for all that a stream does."""
    url = server.url.replace("http", "ws") + "/api/ws"
    for headers in STRANGERS[:5]:
        with pytest.raises(InvalidStatus) as denied:
            connect(url, proxy=None, legacy=True, additional_headers=headers)
        answer = denied.value.response
        assert answer.status_code == 401 and json.loads(answer.body)["code"] == "unauthorized"
    for token in (READ, CONTROL):
        with connect(url, proxy=None, legacy=True, additional_headers=bearer(token)) as socket_:
            assert json.loads(socket_.recv(PATIENCE_S))["type"] == "hello"
            socket_.send('{"type": "subscribe", "topics": "pipeline:work"}')
            kinds = [json.loads(socket_.recv(PATIENCE_S))["type"] for _ in range(2)]
            assert kinds == ["snapshot", "snapshot"]
        watch = SseWatch(server.url + "/api/stream", bearer(token))
        try:
            assert watch.wait_type("snapshot")["changes"]
        finally:
            watch.close()


def test_a_browser_logs_in_with_a_cookie(server, run_id):
    """`POST /api/session`: 204 with a cookie that page scripts, other sites and plain eyes do not get; it is as good as the token."""
    with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as http:
        for token, status in ((READ, 403), (CONTROL, 409)):
            answer = http.post("/api/session", json={"token": token})
            assert answer.status_code == 204 and answer.content == b""
            cookie = answer.headers["set-cookie"]
            name, _, rest = cookie.partition("=")
            attributes = {part.strip().lower() for part in rest.split(";")[1:]}
            assert {"httponly", "samesite=strict", "path=/"} <= attributes and "secure" not in attributes, cookie
            assert token not in cookie, "the cookie is not the token itself"
            http.cookies.clear()
            mine = {"Cookie": f"theme=dark; {name}={rest.split(';')[0]}"}
            for path in reads(run_id):
                assert http.get(path, headers=mine).status_code == 200
            same = {"Origin": server.url} | mine
            assert http.post(f"/api/runs/{run_id}/stop", headers=same, json={}).status_code == status
            refused(
                http.post(f"/api/runs/{run_id}/stop", headers=mine | {"Origin": "https://evil.example"}, json={}), 403
            )
            with connect(
                server.url.replace("http", "ws") + "/api/ws",
                proxy=None,
                legacy=True,
                additional_headers=mine,
                origin=server.url,
            ) as socket_:
                assert json.loads(socket_.recv(PATIENCE_S))["type"] == "hello"
            refused(http.get("/api/runs", headers={"Cookie": f"{name}={rest.split(';')[0][:-1]}"}), 401)
        for body in ({"token": "wrong-secret"}, {"token": EXPIRED}, {"token": ""}, {}):
            answer = http.post("/api/session", json=body)
            refused(answer, 401)
            assert "set-cookie" not in answer.headers
        for body in ({"token": 5}, {"token": None}, {"token": CONTROL, "x": 1}, []):
            assert http.post("/api/session", json=body).status_code == 422, body
        assert (
            http.post(
                "/api/session", content=b'{"token": "\\ud800"}', headers={"Content-Type": "application/json"}
            ).status_code
            == 400
        )
        assert http.post("/api/session", content=b"token=x").status_code == 415
        assert http.get("/api/session").status_code in (401, 405)
        refused(http.post("/api/session", json={"token": CONTROL}, headers={"Origin": "https://evil.example"}), 403)


def test_pages_of_other_servers_are_refused(server, run_id):
    """A command or a socket with a foreign `Origin` is 403, with any token; the listed page and the server's own are let in."""
    url = server.url.replace("http", "ws") + "/api/ws"
    foreign = [
        "https://evil.example",
        "null",
        "http://127.0.0.1",
        "http://localhost:1",
        FRIEND + "0",
        "https://dash.example",
        server.url + ".evil.example",
        "",
    ]
    for origin in foreign:
        for method, path in commands(run_id)[:5]:
            refused(server.http.request(method, path, headers={"Origin": origin}, json={}), 403)
        with pytest.raises(InvalidStatus) as denied:
            connect(url, proxy=None, legacy=True, additional_headers=bearer(CONTROL) | {"Origin": origin})
        assert denied.value.response.status_code == 403
    for origin in (FRIEND, server.url):
        assert server.http.post(f"/api/runs/{run_id}/stop", headers={"Origin": origin}).status_code == 409
        with connect(url, proxy=None, legacy=True, additional_headers=bearer(READ), origin=origin) as socket_:
            assert json.loads(socket_.recv(PATIENCE_S))["type"] == "hello"


def test_with_a_token_the_host_may_be_any_name(server, bench):
    """The rule about `Host` is for servers without tokens, where it is the only thing that stops a rebinding page."""
    assert server.http.get("/api/pipeline/status", headers={"Host": "runs.example"}).status_code == 200
    open_one = bench.serve(TWO_STAGES, data=bench.folder / "open", name="open.py")
    for host in (
        "runs.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example:80",
        "",
        "127.0.0.1@evil.example",
        "0.0.0.0",
    ):
        for path in ("/api/pipeline/status", "/api/pipelines"):
            assert open_one.http.get(path, headers={"Host": host}).status_code == 403, host
        assert open_one.http.post("/api/pipeline/start", headers={"Host": host}).status_code == 403
    for host in ("localhost", "LOCALHOST:5", "127.0.0.1:80", "[::1]:8642"):
        assert open_one.http.get("/api/pipeline/status", headers={"Host": host}).status_code == 200, host


def test_the_end_of_a_token_ends_its_streams(bench):
    """When the token expires: `bye auth` and 1008 on sockets, `bye auth` and the end on SSE, also with a cookie; then 401."""
    until = datetime.now(UTC) + timedelta(seconds=6)
    brief = (
        TOKENS + f'[[token]]\nname = "brief"\ntoken = "brief-secret"\nscope = "read"\nexpires = "{until.isoformat()}"\n'
    )
    server = serve(bench, brief, name="brief")
    url = server.url.replace("http", "ws") + "/api/ws"
    with httpx.Client(base_url=server.url, trust_env=False, timeout=PATIENCE_S) as http:
        name, _, rest = http.post("/api/session", json={"token": "brief-secret"}).headers["set-cookie"].partition("=")
        cookie = {"Cookie": f"{name}={rest.split(';')[0]}"}
        http.cookies.clear()
        assert http.get("/api/runs", headers=cookie).status_code == 200, "the machine is too slow for this test"
        streams = [
            SseWatch(server.url + "/api/stream", bearer("brief-secret")),
            SseWatch(server.url + "/api/stream", cookie),
        ]
        lasting = SseWatch(server.url + "/api/stream", bearer(READ))
        sockets = [
            connect(url, proxy=None, legacy=True, additional_headers=who) for who in (bearer("brief-secret"), cookie)
        ]
        for socket_ in sockets:
            frames = []
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    frames.append(json.loads(socket_.recv(PATIENCE_S)))
            assert frames[-1]["type"] == "bye" and frames[-1]["code"] == "auth"
            assert closed.value.rcvd.code == 1008
            assert abs(time.time() - until.timestamp()) < 3
        for watch in streams:
            watch.wait_end()
            assert watch.frames[-1].value["code"] == "auth" and watch.frames[-1].id is None
            watch.close()
        for who in (bearer("brief-secret"), cookie):
            refused(http.get("/api/runs", headers=who), 401)
        assert not lasting.has_ended
        lasting.close()


def test_tokens_are_never_written_down(bench, server):
    """Neither stdout nor stderr, neither the directory's lock nor the journal hold a secret, whatever was asked."""
    loud = serve(bench, TOKENS, "--verbose", name="loud")
    for secret in (CONTROL, READ, EXPIRED):
        loud.http.get("/api/pipeline/status", headers=bearer(secret))
        loud.http.post("/api/session", json={"token": secret})
        loud.http.post("/api/session", json={"token": secret, "x": 1})
        loud.http.post("/api/pipeline/start", json={"stages": ["nothing"], "metadata": {}}, headers=bearer(secret))
        loud.http.get(f"/api/pipeline/status?token={secret}", headers={"Authorization": "Bearer x"})
        with pytest.raises((InvalidStatus, AssertionError)):
            connect(
                loud.url.replace("http", "ws") + "/api/ws?topics=bad",
                proxy=None,
                legacy=True,
                additional_headers=bearer(secret),
            )
    loud.http.post("/api/pipeline/start", json={"stages": ["fetch"]}, headers={"Idempotency-Key": "log"})
    bench.puppets.next("fetch").returns()
    wait_over(loud, get(loud.http, "/api/pipeline/status").json()["run_id"])
    loud.terminate()
    for reader in (loud.out, loud.err):
        reader.join(PATIENCE_S)
    written = "\n".join([*loud.out.lines, *loud.err.lines])
    for file in (bench.folder / "loud").rglob("*"):
        written += file.read_bytes().decode("latin-1") if file.is_file() else ""
    for secret in (CONTROL, READ, EXPIRED):
        assert secret not in written


@pytest.mark.parametrize("options", [["--token", "a-long-secret"], []])
def test_one_token_from_the_command_line_or_the_environment(bench, options):
    """`--token` and `RUNSTATE_TOKEN` are one control token."""
    file = bench.write(TWO_STAGES, "single.py")
    env = dict(os.environ) | ({} if options else {"RUNSTATE_TOKEN": "a-long-secret"})
    command = [
        str(RUNSTATE),
        "serve",
        str(file),
        "--port",
        "0",
        "--data",
        str(bench.folder / f"single{len(options)}"),
        *options,
    ]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
    ) as process:
        try:
            ready = process.stdout.readline()
            assert "a-long-secret" not in ready
            with httpx.Client(base_url=ready.split()[-1], trust_env=False, timeout=PATIENCE_S) as http:
                refused(http.get("/api/pipeline/status"), 401)
                assert http.get("/api/pipeline/status", headers=bearer("a-long-secret")).status_code == 200
                assert http.post("/api/pipeline/stop", headers=bearer("a-long-secret")).status_code == 409
        finally:
            process.terminate()


def test_an_open_server_stays_on_this_machine(bench):
    """Another address without a token: exit 2 with a sentence that names `--token`; with one, or `--insecure`, it serves."""
    file = bench.write(TWO_STAGES, "open_wide.py")
    env = {name: value for name, value in os.environ.items() if name != "RUNSTATE_TOKEN"}
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        command = [
            str(RUNSTATE),
            "serve",
            str(file),
            "--host",
            host,
            "--port",
            "0",
            "--data",
            str(bench.folder / "wide"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, check=False)
        assert done.returncode == 2, (host, done.stderr)
        assert "--token" in done.stderr and "Traceback" not in done.stderr
    for number, extra in enumerate((["--insecure"], ["--token", "a-long-secret"])):
        command = [
            str(RUNSTATE),
            "serve",
            str(file),
            "--host",
            "0.0.0.0",
            "--port",
            "0",
            "--data",
            str(bench.folder / f"wide{number}"),
            *extra,
        ]
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env
        ) as process:
            try:
                port = urlsplit(process.stdout.readline().split()[-1]).port
                with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as sock:
                    sock.sendall(
                        b"GET /api/pipeline/status HTTP/1.1\r\nHost: runs.example\r\nConnection: close\r\n\r\n"
                    )
                    assert sock.recv(4096).startswith((b"HTTP/1.1 200", b"HTTP/1.1 401")[number : number + 1])
            finally:
                process.terminate()


BAD_TOKENS = [
    "", "x = 1", "[[token]]", '[[token]]\nname = "a"\ntoken = "long-enough"', '[[token]]\nname = "a"\ntoken = "long-enough"\nscope = "admin"',
    '[[token]]\nname = "a"\ntoken = "long-enough"\nscope = "read"\nexpires = "soon"', '[[token]]\ntoken = "long-enough"\nscope = "read"',
    '[[token]]\nname = "a"\ntoken = "long-enough"\nscope = "read"\nlevel = 3', "[[token",
]  # fmt: skip


def test_a_bad_file_of_tokens_is_exit_2(bench):
    """Nothing is served, the sentence names the file, and no secret is shown."""
    file, tokens = bench.write(TWO_STAGES, "bad.py"), bench.folder / "bad.toml"
    for number, text in enumerate(BAD_TOKENS[:: 1 if "ALL" in os.environ else 3]):
        tokens.write_text(text)
        command = [
            str(RUNSTATE),
            "serve",
            str(file),
            "--port",
            "0",
            "--tokens",
            str(tokens),
            "--data",
            str(bench.folder / f"bad{number}"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2 and "bad.toml" in done.stderr.replace("\n", ""), (text, done.stderr)
        assert "Traceback" not in done.stderr and "long-enough" not in done.stderr
