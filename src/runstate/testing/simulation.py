"""The simulation: the real manager, orchestrator, bus, link and replica in a world that is drawn from one number.

Everything happens on virtual time. Runs start, fail, retry and stop; servers are restarted, crash in the middle of an
append, meet a journal that refuses and are replaced by a copy with a new epoch, beside the old one for a while; clients
of every kind are cut, stalled and lied to. Each event of the recording is judged when it happens.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from random import Random

from runstate.core.canonical import FrozenJson
from runstate.core.commit import Commit, Document, Key
from runstate.core.errors import Compacted, RunstateError, StoreUnavailable
from runstate.core.facts import Failed, MetadataMerged, Outcome, ProgressMade, Skipped, Succeeded
from runstate.core.model import Progress
from runstate.core.machine import is_terminal
from runstate.pipeline.definition import Pipeline, Stage
from runstate.pipeline.orchestrator import Orchestrator
