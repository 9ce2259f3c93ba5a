"""What both paths are asked: usual polls, and requests that the fast one must leave alone."""

from __future__ import annotations


def get(target: str, *lines: str, method: str = "GET", version: str = "1.1", host: str = "localhost") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", f"Host: {host}", *lines, "", ""]).encode()


def targets(run_id: str) -> list[str]:
    return [
        "/api/pipeline/status",
        "/api/pipelines/market/status",
        "/api/pipelines/market",
        "/api/pipelines/idle/status",
        f"/api/runs/{run_id}",
    ]


def unusual(tag: str, run_id: str) -> list[bytes]:
    """Requests that the lane must leave alone, or must not understand in another way than the application."""
    status = "/api/pipeline/status"
    none_match = f'If-None-Match: "{tag}"'
    later = tag.rpartition(".")[0] + ".999999"
    epoch, _, rest = tag.partition("-")
    before, after = (f"{int(epoch) + by}-{rest}" for by in (-1, 1))  # of other incarnations of the store (V1)
    return [
        get(status, method="HEAD"),
        get(status, none_match, method="HEAD"),
        get(status, method="POST"),
        get(status, method="OPTIONS"),
        get(status, version="1.0"),
        get(status, "Connection: close"),
        get(status, "Connection: keep-alive, foo", none_match),
        get(status, 'If-None-Match: "other"', none_match),
        get(status, none_match, "Prefer: respond-async", "Prefer: wait=0"),
        get(status, none_match, "Prefer: wait=0; foo"),
        get(status, none_match, 'Prefer: WAIT="0"'),
        get(status, f"If-None-Match: {tag}"),
        get(status, "If-None-Match: *"),
        get(status, f'If-None-Match: "x",W/"{tag}"'),
        get(status, f'If-None-Match: "{later}"'),
        get(status, f'If-None-Match: "{before}"'),
        get(status, f'If-None-Match: "{before}"', "Prefer: wait=30"),
        get(status, f'If-None-Match: "{after}"'),
        get(f"{status}?after={before}"),
        get(f"{status}?after={before}&wait=30"),
        get(f"{status}?after={after}"),
        get(f"{status}?"),
        get(f"{status}?after={tag}"),
        get(f"{status}?wait=0&after={tag}"),
        get(f"{status}?after={tag}&wait=0"),
        get(f"{status}?wait=0"),
        get(f"{status}?wait=0", none_match),
        get(f"{status}?wait=-1", none_match),
        get(f"{status}?wait=0&wait=0", none_match),
        get(f"{status}?wait=0.5", none_match),
        get(f"{status}?wait=00", none_match),
        get(f"{status}?after=", none_match),
        get(f"{status}?after=nonsense"),
        get(f"{status}?min={tag}"),
        get(f"{status}?MIN={tag}"),
        get(f"{status}?a=1"),
        get(f"{status}?after={tag}#part"),
        get(status, "Content-Length: 2") + b"{}",
        get(status, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        get(status, "Cookie: runstate_session=x"),
        get(status, "Authorization: Bearer x"),
        get(status, "Origin: https://evil.example"),
        get(status, host="evil.example"),
        get(status, host="LOCALHOST:1"),
        get(status, host="[::1]:8642"),
        get(status, "Host: evil.example"),
        get(f"{status}/"),
        get(f"/{status}"),
        get("/api/pipelines/m%61rket"),
        get("/api/pipelines/nope/status"),
        get("/api/runs/nope"),
        get(f"/api/runs/{run_id}/versions/1"),
        get("/api/pipelines"),
        get(f"http://localhost{status}"),
        b"GET /api/pipeline/status HTTP/1.1\r\n\r\n",
    ]
