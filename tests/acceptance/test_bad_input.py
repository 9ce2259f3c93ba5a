"""Bad input gets one clear problem, changes nothing, and is never the server's fault (C7, H9)."""

from __future__ import annotations

import contextlib
import json
import socket
from urllib.parse import urlsplit

import pytest

from tests.acceptance.harness import TWO_STAGES

START, STATUS, STREAM = "/api/pipeline/start", "/api/pipeline/status", "/api/stream"
NOTHING = "/api/runs/none"
DEEP = b'{"metadata": ' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}"
DEEP_LIST = b'{"metadata": {"a": ' + b"[" * 500_000 + b"]" * 500_000 + b"}}"

BODIES = {
    "no json": (b"{", 400, "bad_json"),
    "no json at all": (b"metadata=1", 400, "bad_json"),
    "a trailing comma": (b'{"metadata": {},}', 400, "bad_json"),
    "two objects": (b"{}{}", 400, "bad_json"),
    "NaN": (b'{"metadata": {"a": NaN}}', 400, "bad_json"),
    "Infinity": (b'{"metadata": {"a": -Infinity}}', 400, "bad_json"),
    "a lone surrogate": (b'{"metadata": {"a": "\\ud800"}}', 400, "bad_json"),
    "a lone low surrogate": (b'{"metadata": {"a": "x\\udc00"}}', 400, "bad_json"),
    "a lone surrogate as a key": (b'{"metadata": {"\\udfff": 1}}', 400, "bad_json"),
    "a lone surrogate as a member": (b'{"\\ud800": 1}', 400, "bad_json"),
    "bytes that are not UTF-8": (b'{"metadata": {"a": "\xff\xfe"}}', 400, "bad_json"),
    "an encoded surrogate": (b'{"metadata": {"a": "\xed\xa0\x80"}}', 400, "bad_json"),
    "UTF-16": ('{"metadata": {}}'.encode("utf-16"), 400, "bad_json"),
    "a raw line feed in a string": (b'{"metadata": {"a": "x\ny"}}', 400, "bad_json"),
    "a NUL byte": (b'{"metadata": {}}\0', 400, "bad_json"),
    "deep objects": (DEEP, (400, 422), ("bad_json", "invalid")),
    "deep arrays": (DEEP_LIST, (400, 422), ("bad_json", "invalid")),
    "too deep for a document": (
        DEEP.replace(b'{"a":' * 5000, b'{"a":' * 200).replace(b"}" * 5000, b"}" * 200),
        422,
        "invalid",
    ),
    "1e400": (b'{"metadata": {"a": 1e400}}', (400, 422), ("bad_json", "invalid")),
    "2^53": (b'{"metadata": {"a": 9007199254740992}}', 422, "invalid"),
    "-2^53": (b'{"metadata": {"a": -9007199254740992}}', 422, "invalid"),
    "a huge integer": (b'{"metadata": {"a": 1' + b"0" * 400 + b"}}", (400, 422), ("bad_json", "invalid")),
    "a whole float beyond 2^53": (b'{"metadata": {"a": 1e17}}', 422, "invalid"),
    "an array": (b"[]", 422, "invalid"),
    "null": (b"null", 422, "invalid"),
    "text": (b'"start"', 422, "invalid"),
    "an unknown member": (b'{"metdata": {}}', 422, "invalid"),
    "a member of another command": (b'{"reason": "x"}', 422, "invalid"),
    "metadata is null": (b'{"metadata": null}', 422, "invalid"),
    "metadata is a list": (b'{"metadata": []}', 422, "invalid"),
    "stages is text": (b'{"stages": "fetch"}', 422, "invalid"),
    "stages is an object": (b'{"stages": {"fetch": 1}}', 422, "invalid"),
    "stages is empty": (b'{"stages": []}', 422, "invalid"),
    "an unknown stage": (b'{"stages": ["fetch", "grab"]}', 422, "invalid"),
    "a stage twice": (b'{"stages": ["fetch", "fetch"]}', 422, "invalid"),
    "a stage that is no text": (b'{"stages": [["fetch"]]}', 422, "invalid"),
    "a stage that is a number": (b'{"stages": [0]}', 422, "invalid"),
    "override is text": (b'{"override": "yes"}', 422, "invalid"),
    "override is a number": (b'{"override": 1}', 422, "invalid"),
    "a document over 256 KiB": (b'{"metadata": {"a": "' + b"x" * 300_000 + b'"}}', 422, "invalid"),
    "a body over 1 MiB": (b'{"metadata": {"a": "' + b"x" * 2_000_000 + b'"}}', 413, "too_large"),
    "white space over 1 MiB": (b" " * 1_100_000, 413, "too_large"),
}

REQUESTS = {
    "GET on a command": ("GET", START, {}, 405, "method_not_allowed"),
    "DELETE on a run": ("DELETE", NOTHING, {}, 405, "method_not_allowed"),
    "PUT on a status": ("PUT", STATUS, {}, 405, "method_not_allowed"),
    "POST on a stream": ("POST", STREAM, {}, 405, "method_not_allowed"),
    "an unusual method": ("PROPFIND", STATUS, {}, 405, "method_not_allowed"),
    "PATCH on a list": ("PATCH", "/api/runs", {}, 405, "method_not_allowed"),
    "an unknown path": ("GET", "/api/nothing", {}, 404, "not_found"),
    "an unknown pipeline": ("GET", "/api/pipelines/nobody", {}, 404, "not_found"),
    "an unknown pipeline's status": ("GET", "/api/pipelines/nobody/status", {}, 404, "not_found"),
    "a start of an unknown pipeline": ("POST", "/api/pipelines/nobody/start", {}, 404, "not_found"),
    "an unknown run": ("GET", NOTHING, {}, 404, "not_found"),
    "an unknown run's version": ("GET", NOTHING + "/versions/1", {}, 404, "not_found"),
    "an unknown run's history": ("GET", NOTHING + "/history", {}, 404, "not_found"),
    "a stop of an unknown run": ("POST", NOTHING + "/stop", {}, 404, "not_found"),
    "a NUL in a run id": ("GET", "/api/runs/a%00b", {}, 404, "not_found"),
    "a NUL in a pipeline": ("GET", "/api/pipelines/%00/status", {}, 404, "not_found"),
    "dots in a run id": ("GET", "/api/runs/%2e%2e/versions/1", {}, 404, "not_found"),
    "a way out of the API": ("GET", "/api/runs/..%2f..%2f..%2fetc%2fpasswd", {}, 404, "not_found"),
    "a way out of the dashboard": ("GET", "/%2e%2e/%2e%2e/%2e%2e/etc/passwd", {}, 404, "not_found"),
    "a very long run id": ("GET", "/api/runs/" + "x" * 30_000, {}, 404, "not_found"),
    "a run id in Unicode": ("GET", "/api/runs/%F0%9F%98%80%E2%80%A8", {}, 404, "not_found"),
    "a run id that is not UTF-8": ("GET", "/api/runs/%FF%FE", {}, 404, "not_found"),
    "a run id of quotes": ("GET", "/api/runs/'%20OR%201=1;--", {}, 404, "not_found"),
    "an encoded surrogate as a run id": ("GET", "/api/runs/%ED%A0%80", {}, 404, "not_found"),
    "an encoded surrogate as a pipeline": ("POST", "/api/pipelines/%ED%A0%80/start", {}, 404, "not_found"),
    "an unknown query parameter": ("GET", STATUS + "?fresh=1", {}, 400, "bad_query"),
    "an empty query parameter": ("GET", STATUS + "?=", {}, 400, "bad_query"),
    "a query on a command": ("POST", START + "?force=1", {}, 400, "bad_query"),
    "a query that is not UTF-8": ("GET", STATUS + "?%ff=%ff", {}, 400, "bad_query"),
    "a surrogate in a query": ("GET", "/api/runs?state=%ED%A0%80", {}, 400, "bad_query"),
    "an unknown query on a list": ("GET", "/api/pipelines?limit=1", {}, 400, "bad_query"),
    "a limit of 0": ("GET", "/api/runs?limit=0", {}, 400, "bad_query"),
    "a negative limit": ("GET", "/api/runs?limit=-1", {}, 400, "bad_query"),
    "a limit in words": ("GET", "/api/runs?limit=ten", {}, 400, "bad_query"),
    "a limit in other digits": ("GET", "/api/runs?limit=%D9%A3", {}, 400, "bad_query"),
    "a huge limit": ("GET", "/api/runs?limit=" + "9" * 5000, {}, 400, "bad_query"),
    "a limit twice": ("GET", "/api/runs?limit=1&limit=2", {}, 400, "bad_query"),
    "an unknown status": ("GET", "/api/runs?status=fine", {}, 400, "bad_query"),
    "an unknown state": ("GET", "/api/runs?state=running", {}, 400, "bad_query"),
    "a `before` that is no place": ("GET", "/api/runs?before=x", {}, 400, "bad_query"),
    "an `after` that is no version": ("GET", NOTHING + "/history?after=1.5", {}, 400, "bad_query"),
    "a `min` that is no position": ("GET", STATUS + "?min=12", {}, 400, "bad_query"),
    "wait without anything to wait for": ("GET", STATUS + "?wait=5", {}, 400, "bad_query"),
    "a foreign host": ("GET", STATUS, {"Host": "evil.example"}, 403, "forbidden"),
    "a foreign host with our name before it": ("GET", STATUS, {"Host": "127.0.0.1.evil.example"}, 403, "forbidden"),
    "a foreign host on the dashboard": ("GET", "/", {"Host": "evil.example:80"}, 403, "forbidden"),
    "a foreign origin's command": ("POST", START, {"Origin": "https://evil.example"}, 403, "forbidden"),
    "a sandboxed page's command": ("POST", START, {"Origin": "null"}, 403, "forbidden"),
    "another port's command": ("POST", START, {"Origin": "http://127.0.0.1:1"}, 403, "forbidden"),
    "delta=2": ("GET", STREAM + "?delta=2", {}, 400, "bad_query"),
    "mode=first": ("GET", STREAM + "?mode=first", {}, 400, "bad_query"),
    "an unknown topic": ("GET", STREAM + "?topics=all", {}, 400, "bad_query"),
    "an empty topic": ("GET", STREAM + "?topics=", {}, 400, "bad_query"),
    "a topic without a name": ("GET", STREAM + "?topics=run:", {}, 400, "bad_query"),
    "an empty topic among others": ("GET", STREAM + "?topics=*,,pipeline:work", {}, 400, "bad_query"),
    "a topic of an unknown pipeline": ("GET", STREAM + "?topics=pipeline:nobody", {}, 404, "not_found"),
    "a topic of an unknown run": ("GET", STREAM + "?topics=pipeline:work,run:none", {}, 404, "not_found"),
    "a topic of a run that cannot be": ("GET", STREAM + "?topics=run:%00%ff%ED%A0%80", {}, 404, "not_found"),
    "a resume that is no position": ("GET", STREAM + "?resume=12", {}, 400, "bad_query"),
    "a Last-Event-ID that is no position": ("GET", STREAM, {"Last-Event-ID": "\xff"}, 400, "bad_query"),
    "an unknown stream option": ("GET", STREAM + "?speed=11", {}, 400, "bad_query"),
    "a JSON command as a form": ("POST", START, {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
}  # fmt: skip


@pytest.fixture(scope="module")
def server(shared_bench):
    return shared_bench.serve(TWO_STAGES)


@pytest.fixture
def unchanged(server):
    """The server's head and lists are the same after the test as before it."""

    def look():
        position = server.http.get("/api/pipelines").content
        return position, server.http.get("/api/runs").content, server.http.get(STATUS).content

    before = look()
    yield
    assert look() == before
    assert server.http.get("/ready").status_code == server.http.get("/health").status_code == 200
    assert server.process.poll() is None


def check_problem(answer, status, code) -> None:
    """Check that an answer is a problem of RFC 9457 with our members."""
    statuses, codes = (
        (status if isinstance(status, tuple) else (status,)),
        (code if isinstance(code, tuple) else (code,)),
    )
    assert answer.status_code in statuses, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    assert "no-store" in answer.headers["cache-control"]
    problem = answer.json()
    assert problem["code"] in codes
    assert problem["status"] == answer.status_code
    assert isinstance(problem["title"], str) and isinstance(problem["type"], str)
    assert problem["detail"] and len(problem["detail"]) < 40_000 and "Traceback" not in problem["detail"]


@pytest.mark.rule("C7", "H9")
@pytest.mark.parametrize("name", BODIES)
def test_a_bad_body_is_refused(server, unchanged, name):
    """A body that cannot be taken gets a problem that says why."""
    body, status, code = BODIES[name]
    answer = server.http.post(START, content=body, headers={"Content-Type": "application/json"})
    check_problem(answer, status, code)


@pytest.mark.rule("C7", "H9")
@pytest.mark.parametrize("name", REQUESTS)
def test_a_bad_request_is_refused(server, unchanged, name):
    """What is asked where it may not be, or as it may not be, gets a problem that says why."""
    method, path, headers, status, code = REQUESTS[name]
    content = b'{"metadata": {}}' if "Content-Type" in headers else None
    raw = [(key.encode(), value.encode("latin-1")) for key, value in headers.items()]
    answer = server.http.request(method, path, headers=raw, content=content)
    if status is None:
        assert 400 <= answer.status_code < 500
        status, code = answer.status_code, answer.json()["code"]
    check_problem(answer, status, code)
    if status == 405:
        assert answer.headers["allow"], "RFC 9110 wants to hear what is allowed"


@pytest.mark.rule("C7")
@pytest.mark.parametrize("reason", [b'{"reason": 5}', b'{"reason": null}', b'{"why": "x"}', b'{"reason": ["x"]}'])
def test_a_bad_stop_of_the_current_run_is_refused(server, unchanged, reason):
    """A pipeline that never ran has nothing to stop, however the body looks."""
    answer = server.http.post("/api/pipeline/stop", content=reason, headers={"Content-Type": "application/json"})
    assert answer.status_code in (409, 422)
    check_problem(answer, answer.status_code, ("not_allowed", "invalid"))


@pytest.mark.rule("C7")
@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/jsonx", "application/json-patch+json", "x" * 300, "\xff"]
)
def test_a_body_of_another_type_is_refused(server, unchanged, kind):
    """What does not say that it is JSON is not taken for JSON."""
    answer = server.http.post(START, content=b"{}", headers=[(b"Content-Type", kind.encode("latin-1"))])
    check_problem(answer, 415, "unsupported_media_type")


def talk(server, raw: bytes) -> bytes:
    """Send raw bytes and return all that comes back until the server closes or is done with one answer."""
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname, url.port), timeout=30) as sock:
        sock.sendall(raw)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := sock.recv(1 << 16):
                received += piece
        return received


RAW = {
    "an unknown method": b"BREW /api/pipeline/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "a half request": b"GET /api/pipe",
    "a raw byte in the path": b"GET /api/runs/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a NUL in the path": b"GET /api/runs/\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no host": b"GET /api/pipeline/status HTTP/1.1\r\n\r\n",
    "an absolute target": b"GET http://evil.example/api/pipeline/status HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a half body": b"POST /api/pipeline/start HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{",
    "two lengths": b"POST /api/pipeline/start HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "a bad length": b"POST /api/pipeline/start HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}",
    "a bad chunk": b"POST /api/pipeline/start HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "an endless header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 300_000 + b"\r\n\r\n",
    "a bad upgrade": b"GET /api/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 7\r\n\r\n",
    "an upgrade of a GET route": (
        b"GET /api/pipeline/status HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ),
    "a GET of the socket": b"GET /api/ws HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
}  # fmt: skip


@pytest.mark.rule("C7")
@pytest.mark.parametrize("name", RAW)
def test_garbage_is_never_a_500(server, unchanged, name):
    """Bytes that are no request get a 4xx or a closed connection, and start nothing."""
    received = talk(server, RAW[name])
    assert b" 500 " not in received.partition(b"\r\n")[0], received[:300]


@pytest.mark.rule("H9")
@pytest.mark.parametrize("path", ["/api/pipeline/status", "/api/pipeline/start", "/api/runs", "/health"])
def test_options_and_head_are_sane(server, unchanged, path):
    """OPTIONS is no 500 and starts nothing; HEAD never has a body."""
    assert server.http.options(path).status_code in (200, 204, 405)
    head = server.http.head(path)
    assert head.content == b"" and head.status_code in (200, 405)


@pytest.mark.rule("H9")
def test_head_of_a_stream_ends(server, unchanged):
    """HEAD of the stream answers with its headers and no body, and leaves the connection usable."""
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as sock:
        sock.sendall(b"HEAD /api/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b""
        with contextlib.suppress(TimeoutError):
            while piece := sock.recv(1 << 16):
                received += piece
    assert received.startswith((b"HTTP/1.1 200", b"HTTP/1.1 405")), received[:200]
    assert b"alive" in received, "the second request on the connection is answered"


@pytest.mark.rule("H9")
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:99", "LOCALHOST:1", "[::1]:80"])
def test_loopback_names_are_welcome(server, unchanged, host):
    """Any name of this machine is a good Host."""
    assert server.http.get(STATUS, headers={"Host": host}).status_code == 200


@pytest.mark.rule("C7")
@pytest.mark.parametrize(
    "body", [b"", b"  \n", b"{}", b'{"override": false}', b'{"metadata": {}, "stages": ["fetch", "crunch"]}']
)
def test_an_empty_body_is_an_empty_object(server, shared_bench, body):
    """An empty body is `{}`, and a Content-Type with a parameter is JSON all the same."""
    headers = {"Content-Type": "application/json; charset=utf-8"} if body.strip() else {}
    answer = server.http.post(START, content=body, headers=headers)
    assert answer.status_code == 202 and answer.json()["metadata"] == {}
    shared_bench.puppets.next("fetch").returns()
    shared_bench.puppets.next("crunch").returns()
    assert server.wait_over(answer.json()["run_id"])["state"] == "success"


@pytest.mark.rule("C7")
def test_metadata_is_made_canonical(server, shared_bench):
    """Whatever spelling a caller sends, the document holds the canonical one, and polls and lists agree."""
    body = b'{"metadata": {"\xe2\x82\xac": 1.0, "\\u20ac2": 1E2, "a": -0.0, "b": 1e-7, "\xf0\x9f\x98\x80": "\\ud83d\\ude00", "\xef\xbf\xbf": [9007199254740991, 1.7976931348623157e308, 1e21], "\\u0000": "\\u007f/\\/"}}'
    answer = server.http.post(START, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202, answer.text
    metadata = answer.json()["metadata"]
    assert metadata["€"] == 1 and metadata["€2"] == 100 and metadata["😀"] == "😀"
    assert b'"a":0,' in answer.content and b'"b":1e-7' in answer.content
    assert answer.content.index("😀".encode()) < answer.content.index("\uffff".encode()), "sorted by UTF-16"
    run_id = answer.json()["run_id"]
    assert json.loads(server.http.get("/api/runs?limit=1").content)["runs"][0]["metadata"] == metadata
    held = shared_bench.puppets.next("fetch")  # before the stop: a stage that has not begun would never come
    server.stop_run(run_id)
    server.wait_state(run_id, "stopped")
    held.wait_dead()
