"""Telling others: CloudEvents about runs and pipelines, posted to receivers that their owner names.

    commit ─▶ events (pure) ─▶ outbox (pure; journalled) ─▶ sender ─▶ post ─▶ receiver

Law: level-triggered. What is to be told is derived from the journal's commits after a revision, and that revision, with
what failed so far, is a note in the journal. So nothing is lost with the process, an event may come twice, and a receiver
touches neither a run nor another receiver.
"""

from __future__ import annotations

from runstate.pipeline.webhook import WebhookConfig
from runstate.pipeline.webhook import webhook_config as Webhook  # noqa: N812  # because users make a value with it

__all__ = ["Webhook", "WebhookConfig"]
