"""runstate: one true state for every pipeline run.

Importing it is light; what needs a server or a store is loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runstate.pipeline.definition import Pipeline
from runstate.pipeline.stage import Fatal, Skip, StageContext

if TYPE_CHECKING:
    from runstate.core.model import RunContext
    from runstate.pipeline.orchestrator import Orchestrator
    from runstate.server.app import Runstate
    from runstate.state.bus import EventBus
    from runstate.state.manager import PipelineStateManager

__all__ = [
    "EventBus",
    "Fatal",
    "Orchestrator",
    "Pipeline",
    "PipelineStateManager",
    "RunContext",
    "Runstate",
    "Skip",
    "StageContext",
    "__version__",
]

__version__ = "0.1.0"

_LATER = {
    "EventBus": "runstate.state.bus",
    "Orchestrator": "runstate.pipeline.orchestrator",
    "PipelineStateManager": "runstate.state.manager",
    "RunContext": "runstate.core.model",
    "Runstate": "runstate.server.app",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'runstate' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
