"""Requests that no client of ours sends: whatever form they have, the answer has ours (H9), and nobody is alarmed."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from urllib.parse import urlsplit

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from tests.acceptance.judge import get

FILES = """
work = Pipeline("work")

@work.stage
async def fetch(ctx):
    (ctx.workdir / "report.txt").write_text("0123456789")
    return {"report": "report.txt", "folder": ".", "elsewhere": "/no/such/file"}
"""


@pytest.fixture(scope="module")
def server(shared_bench):
    server = shared_bench.serve(FILES)
    server.run_id = server.start_run()["run_id"]
    server.wait_over(server.run_id)
    return server


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert answer.status_code == status, (answer.url, answer.text)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert (answer.json()["status"], answer.json()["code"]) == (status, code)


@pytest.mark.rule("H9")
def test_a_path_with_a_slash_too_many_is_no_path(server):
    """404 and no redirect: it would name the scheme and host that a proxy in front does not have."""
    paths = ["/api", "/api/", "/api/runs/", "/api//runs", "//api/runs", "/api/pipelines/work/", "/health/", "/ready/"]
    for path in [*paths, f"/api/runs/{server.run_id}/", f"/api/runs/{server.run_id}/history/", "/API/runs"]:
        refused(server.http.get(path), 404, "not_found")
    for path in ("/api/pipelines/work/start/", "/api/pipeline/stop/"):
        refused(server.http.post(path, json={}), 404, "not_found")


@pytest.mark.rule("H9")
def test_a_socket_where_there_is_none_is_404(server):
    """Before the upgrade, as a problem; the dashboard's files never see it."""
    for path in ("/api/ws/", "/api/runs", "/api/nothing", "/ws", "/", "/api", "/health"):
        with pytest.raises(InvalidStatus) as denied:
            connect(server.url.replace("http", "ws") + path, proxy=None, legacy=True)
        answer = denied.value.response
        assert answer.status_code == 404, path
        assert answer.headers["content-type"] == "application/problem+json", path
        assert json.loads(answer.body)["code"] == "not_found"


@pytest.mark.rule("H9")
def test_what_opens_no_socket_is_told_so(server):
    """As behind a proxy that takes the upgrade away: 426 in the form of every problem, and the connection serves on."""
    opening = {
        "Connection": "Upgrade", "Upgrade": "websocket",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13",
    }  # fmt: skip
    for wrong in (
        {"Upgrade": None, "Connection": None},
        {"Upgrade": "h2c"},
        {"Sec-WebSocket-Key": None},
        {"Sec-WebSocket-Key": "c2hvcnQ="},
        {"Sec-WebSocket-Key": "!"},
        {"Sec-WebSocket-Version": None},
        {"Sec-WebSocket-Version": "8"},
    ):
        headers = {name: value for name, value in (opening | wrong).items() if value is not None}
        answer = server.http.get("/api/ws?topics=nonsense", headers=headers)
        refused(answer, 426, "upgrade_required")
        assert answer.headers["upgrade"] == "websocket" and "/api/stream" in answer.json()["detail"]
        # Anywhere else an upgrade that is none is no part of the request (RFC 9110 7.8).
        if "Upgrade" not in wrong:
            assert server.http.get(f"/api/runs/{server.run_id}", headers=headers).status_code == 200
    refused(server.http.post("/api/ws", headers=opening, json={}), 405, "method_not_allowed")
    refused(server.http.get("/api/nothing", headers=opening | {"Upgrade": "h2c"}), 404, "not_found")
    with connect(server.url.replace("http", "ws") + "/api/ws", proxy=None) as socket:
        assert json.loads(socket.recv())["type"] == "hello"


@pytest.mark.rule("C7", "C1")
def test_an_upgrade_that_is_not_taken_leaves_the_request_whole(server):
    """`Upgrade: h2c`, as Java's client and `curl --http2` send it: with its body, in pieces, and with more behind it."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
    body = json.dumps({"cron": "0 5 * * *", "unheard": 1}).encode()
    length, chunks = b"Content-Length: %d\r\n" % len(body), b"Transfer-Encoding: chunked\r\n"
    start = b"PUT /api/pipelines/work/schedule HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    poll = b"GET /api/pipelines/work HTTP/1.1\r\nHost: localhost\r\n"
    where = urlsplit(server.url)
    for ask in (
        (start + offer + length + b"\r\n" + body,),
        (start + offer + length + b"\r\n", body[:7], body[7:]),
        (start + offer + chunks + b"\r\n", b"%x\r\n" % len(body), body, b"\r\n0\r\n\r\n"),
        (start[:20], start[20:] + offer[:40], offer[40:] + length + b"\r\n" + body),
    ):
        with socket.create_connection((where.hostname, where.port), timeout=30) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in (*ask, poll + offer + b"\r\n" + poll + b"Connection: close\r\n\r\n"):
                sock.sendall(piece)
            received = b"".join(iter(lambda sock=sock: sock.recv(65536), b""))
        assert received.count(b"HTTP/1.1 422") == 1 and b"unheard" in received, received
        assert received.count(b"HTTP/1.1 200") == 2 and received.count(b"HTTP/1.1 ") == 3, received


def test_two_hosts_are_none_of_this_machine(server):
    """Without tokens the name in `Host` is what keeps strangers out, so it must be one."""
    where = urlsplit(server.url)
    for hosts in (("localhost", "evil.example"), ("evil.example", "localhost"), ("localhost", "localhost")):
        link = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
        link.putrequest("GET", "/api/pipelines", skip_host=True)
        for host in hosts:
            link.putheader("Host", host)
        link.endheaders()
        with contextlib.closing(link), link.getresponse() as answer:
            assert (answer.status, json.loads(answer.read())["code"]) == (403, "forbidden"), hosts


@pytest.mark.rule("H9", "C7")
def test_an_encoded_body_is_415(server):
    """Content codings are not understood; said before the bytes are taken for JSON, and `identity` is none."""
    path = "/api/pipelines/work/start"
    for coding in ("gzip", "br", "GZIP", "identity, gzip"):
        headers = {"Content-Type": "application/json", "Content-Encoding": coding}
        refused(server.http.post(path, content=b"{}", headers=headers), 415, "unsupported_media_type")
        refused(server.http.post(path, content=b"\x1f\x8b\x08", headers=headers), 415, "unsupported_media_type")
    headers = {"Content-Type": "application/json", "Content-Encoding": "identity"}
    refused(server.http.post(path, content=b'{"stages": []}', headers=headers), 422, "invalid")


@pytest.mark.rule("H11", "H9")
def test_a_file_is_answered_in_whole(server):
    """A Range is neither obeyed nor an error of another form; what is no file is 404."""
    base = f"/api/runs/{server.run_id}/files"
    for value in ("bytes=0-3", "bytes=99-", "bytes=3-1", "bananas", "bytes=0-0,2-3", "bytes="):
        answer = server.http.get(f"{base}/report.txt", headers={"Range": value})
        assert (answer.status_code, answer.text) == (200, "0123456789"), value
        assert answer.headers["accept-ranges"] == "none"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "sandbox"
    for path in (
        "",
        "%2e",
        "%2e/report.txt",
        "no/such/file",
        "report.txt/",
        "report.txt%00",
        "REPORT.txt",
        "etc/passwd",
    ):
        refused(server.http.get(f"{base}/{path}"), 404, "not_found")
    refused(server.http.get(f"{base}/report.txt?download=1"), 400, "bad_query")


@pytest.mark.rule("H2", "H3")
def test_any_tag_is_never_newer(server):
    """`If-None-Match: *` matches whatever there is, with a wait as without one."""
    path = f"/api/runs/{server.run_id}"
    for headers, waited in (({}, None), ({"Prefer": "wait=1"}, "wait=1"), ({"Prefer": "wait=0"}, "wait=0")):
        answer = server.http.get(path, headers={"If-None-Match": "*"} | headers)
        assert answer.status_code == 304
        assert answer.headers.get("preference-applied") == waited


@pytest.mark.rule("C7")
def test_a_caller_who_hangs_up_alarms_nobody(server):
    """Half a body, a broken chunk, no body at all: nothing changes, and the log speaks of no error of ours."""
    where, before = urlsplit(server.url), get(server.http, "/api/pipelines").headers["runstate-position"]
    start = "POST /api/pipelines/work/start HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    for rest in (
        "Content-Length: 50\r\n\r\n{}",
        "Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        "Content-Length: 50\r\n\r\n",
    ):
        with socket.create_connection((where.hostname, where.port)) as sock:
            sock.sendall((start + rest).encode())
            sock.shutdown(socket.SHUT_WR)
            sock.settimeout(30)
            with contextlib.suppress(ConnectionResetError):  # the server may close without reading what is left
                while sock.recv(4096):
                    pass
    assert get(server.http, "/api/pipelines").headers["runstate-position"] == before
    assert [line for line in server.err.lines if "error" in line.lower()] == []
