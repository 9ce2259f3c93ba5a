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
