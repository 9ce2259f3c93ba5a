"""A webhook as its owner writes it: who is told, of what, and where the secret is that signs it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args
from urllib.parse import urlsplit

from runstate.core.errors import DefinitionError

#: An end of a run, a pipeline's health that has become so, or a start that the run policy refused.
WebhookEvent = Literal["success", "failed", "stopped", "blocked", "refused"]
WEBHOOK_EVENTS: tuple[str, ...] = get_args(WebhookEvent)

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class WebhookConfig:
    """One receiver; made by `webhook_config`, so whatever stands here is right."""

    url: str  #: http or https, absolute.
    on: tuple[str, ...]  #: Of `WEBHOOK_EVENTS`, each once, at least one.
    secret_env: str | None  #: The environment variable that holds the secret; None: not signed.

    @property
    def receiver(self) -> str:
        """Who is told, without what may be secret in the URL: with many services the path is."""
        parts = urlsplit(self.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def webhook_config(url: object, on: object, secret_env: object = None) -> WebhookConfig:
    """Return a receiver, checked.

    Raises:
        DefinitionError: A value is not as described; the text begins with its name.
    """
    if not isinstance(url, str) or not _is_url(url):
        raise DefinitionError(
            "url is not an absolute http or https URL"
        )  # nothing of it is shown: it may hold a secret
    if not isinstance(on, list | tuple) or not on or len(set(map(repr, on))) != len(on):
        raise DefinitionError(f"on is {on!r}; a list of different words is needed, of {', '.join(WEBHOOK_EVENTS)}")
    for word in on:
        if word not in WEBHOOK_EVENTS:
            raise DefinitionError(f"on names {word!r}; it may name {', '.join(WEBHOOK_EVENTS)}")
    if secret_env is not None and (not isinstance(secret_env, str) or not _VARIABLE.fullmatch(secret_env)):
        raise DefinitionError(
            f"secret_env is {secret_env!r}; the name of an environment variable is needed, not the secret itself"
        )
    return WebhookConfig(url, tuple(on), secret_env)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and text.isprintable()
    except ValueError:  # a port or an IPv6 address that is none
        return False
