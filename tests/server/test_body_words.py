"""A member of the wrong type: the answer says what it is and what is needed (PROTOCOL H9)."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request

from runstate.core.canonical import encode
from runstate.server.problems import Problem
from runstate.server.query import body_of

MEMBERS = {"metadata": dict, "stages": list, "seq": int, "lease_s": (int, float), "override": bool, "reason": str}


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"metadata": [1]}, "member metadata is [1]; an object is needed"),
        ({"stages": "fetch"}, 'member stages is "fetch"; a list is needed'),
        ({"seq": 1.5}, "member seq is 1.5; a whole number is needed"),
        ({"lease_s": None}, "member lease_s is null; a number is needed"),
        ({"override": 1}, "member override is 1; true or false is needed"),
        ({"reason": {}}, "member reason is {}; a text is needed"),
    ],
)
def test_a_wrong_type_names_what_is_needed(body, complaint):
    async def receive():
        return {"type": "http.request", "body": encode(body)}

    request = Request({"type": "http", "method": "POST", "headers": [(b"content-type", b"application/json")]}, receive)
    with pytest.raises(Problem) as refused:
        asyncio.run(body_of(request, MEMBERS))

    assert complaint in str(refused.value)
