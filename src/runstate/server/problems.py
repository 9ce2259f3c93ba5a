"""Every way a request can be refused, as `application/problem+json` (PROTOCOL H9, RFC 9457).

The one table from errors to HTTP statuses stands here.
"""

from __future__ import annotations

from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from runstate.core.canonical import Json
from runstate.core.errors import CallerError, RunstateError, StoreError

STATUS_OF = {
    "bad_json": 400,
    "bad_query": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "already_running": 409,
    "not_allowed": 409,
    "blocked": 409,
    "compacted": 410,
    "conflict": 412,
    "too_large": 413,
    "unsupported_media_type": 415,
    "invalid": 422,
    "upgrade_required": 426,
    "too_many": 429,
    "internal": 500,
    "behind": 503,
    "unavailable": 503,
}

_CODE_OF_STATUS = {404: "not_found", 405: "method_not_allowed"}


class Problem(CallerError):
    """A refused request.

    Attributes:
        code: One of `STATUS_OF`.
        document: The document that shows why, as canonical bytes, where there is one.
    """

    def __init__(self, code: str, detail: str, *, document: bytes | None = None) -> None:
        super().__init__(detail)
        self.code, self.document = code, document

    def members(self) -> dict[str, Json]:
        """Return the RFC 9457 members."""
        status = STATUS_OF[self.code]
        members: dict[str, Json] = {
            "type": f"urn:runstate:problem:{self.code}",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": str(self),
            "code": self.code,
        }
        if self.document is not None:
            members["document"] = msgspec.Raw(self.document)
        return members

    def response(self, headers: dict[str, str] | None = None) -> Response:
        """Return the answer."""
        return Response(
            msgspec.json.encode(self.members()),
            STATUS_OF[self.code],
            {"Cache-Control": "no-store", **(headers or {})},
            "application/problem+json",
        )


def problem_of(error: RunstateError) -> Problem:
    """Return the problem that one of our errors is on the wire."""
    if isinstance(error, Problem):
        return error
    code = "unavailable" if isinstance(error, StoreError) else error.code
    return Problem(code if code in STATUS_OF else "invalid", str(error))


def answer_error(_: Request, error: Exception) -> Response:
    """Answer one of our errors; Starlette's exception handler."""
    assert isinstance(error, RunstateError)
    return refusal_of(error)


def refusal_of(error: RunstateError) -> Response:
    """Return the whole answer that one of our errors is."""
    problem = problem_of(error)
    return problem.response({"Retry-After": "1"} if STATUS_OF[problem.code] == 503 else None)


def answer_bug(_: Request, error: Exception) -> Response:
    """Answer where runstate itself is wrong; the traceback is in the log, the words of the exception are nobody else's."""
    return Problem("internal", f"runstate met a bug of its own ({type(error).__name__}); its log says more").response()


def answer_http_error(request: Request, error: Exception) -> Response:
    """Answer what Starlette's router refuses: an unknown path or method."""
    assert isinstance(error, HTTPException)
    code = _CODE_OF_STATUS.get(error.status_code, "invalid")
    if code == "not_found":
        detail = f"there is nothing at {request.url.path}"
    elif code == "method_not_allowed":
        detail = f"{request.method} is not allowed at {request.url.path}"
    else:
        detail = error.detail
    return Problem(code, detail).response(dict(error.headers or {}))
