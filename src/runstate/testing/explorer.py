"""The explorer: every state of the small world, each judged, and the shortest way to one that breaks a promise.

Law: breadth first, each state once, so a trace is as short as can be. A world is right when each view is what the store
held at its position, no view goes back, and from every state all can still end well: calm, and showing the head.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass

from runstate.testing.small_moves import begin, moves
from runstate.testing.small_world import EPOCHS, Rules, State, heads_of

MOST_STATES = 400_000


class Broken(AssertionError):
    """A promise that was not kept, and the shortest way there."""

    def __init__(self, promise: str, trace: list[str]) -> None:
        self.promise, self.trace = promise, trace
        steps = "\n".join(f"  {number:2} {move}" for number, move in enumerate(trace, 1))
        super().__init__(f"{promise}\n{steps}")


@dataclass(slots=True)
class Explored:
    """What was seen of a world in which no promise was broken."""

    states: int = 0
    moves: int = 0
    calm: int = 0  #: States in which nothing more happens by itself and the view is the head.


def explore(rules: Rules) -> Explored:
    """Visit every state.

    Raises:
        Broken: Some state breaks a promise.
    """
    start = begin(rules)
    found = Explored()
    numbers: dict[Hashable, int] = {start.key(): 0}
    came: list[tuple[int, str]] = [(0, "")]  # from which state, by which move
    leads: list[list[int]] = [[]]  # from which states one comes here
    good: list[int] = []
    queue: deque[tuple[int, State]] = deque([(0, start)])
    while queue:
        number, state = queue.popleft()
        found.states += 1
        if _is_calm(state):
            good.append(number)
        for move, following in moves(rules, state):
            found.moves += 1
            key = following.key()
            known = numbers.get(key)
            if known is None:
                known = numbers[key] = len(came)
                came.append((number, move))
                leads.append([])
                queue.append((known, following))
            leads[known].append(number)
            wrong = _wrong(state, following)
            if wrong is not None:
                raise Broken(wrong, [*_trace(came, number), move])
        assert len(came) < MOST_STATES, "the small world is not small"
    found.calm = len(good)
    _check_all_end_well(came, leads, good)
    return found


def _check_all_end_well(came: list[tuple[int, str]], leads: list[list[int]], good: list[int]) -> None:
    reached = set(good)
    queue = deque(good)
    while queue:
        for number in leads[queue.popleft()]:
            if number not in reached:
                reached.add(number)
                queue.append(number)
    for number in range(len(came)):
        if number not in reached:
            raise Broken("converges: from here the client can never show the head", _trace(came, number))


def _trace(came: list[tuple[int, str]], number: int) -> list[str]:
    trace: list[str] = []
    while number:
        number, move = came[number]
        trace.append(move)
    return trace[::-1]


def _is_calm(state: State) -> bool:
    """Return whether the client follows the latest server, and shows all that it holds."""
    server, replica, wire = state.servers[-1], state.link.replica, state.wire
    position = replica.position
    return (
        wire is not None
        and wire.server == len(state.servers) - 1
        and server.pending is None
        and position is not None
        and (position.epoch, position.revision) == (EPOCHS[server.epoch], len(server.log))
        and replica.following
        and not replica.doubtful
        and _view(state) == {key: (d.version, d.encoded) for key, d in heads_of(server.log).items()}
    )


def _view(state: State) -> dict[object, tuple[int, bytes]]:
    return {key: (entry.version, entry.encoded) for key, entry in state.link.replica.entries.items()}


def _wrong(before: State, after: State) -> str | None:
    """Return the promise that the step broke."""
    old, new = before.link.replica, after.link.replica
    if new is old:
        return None
    if new.position is None:
        return None if old.position is None else f"ordered: the view went back from {old.position} to nothing"
    if old.position is not None and new.position.order < old.position.order:
        return f"ordered: the view went back from {old.position} to {new.position}"
    if new.doubtful:
        return None  # shown, and shown as not verified
    logs = [server.log for server in after.servers if EPOCHS[server.epoch] == new.position.epoch]
    if not any(len(log) >= new.position.revision for log in logs):
        return f"durable: the view is at {new.position}, where no store is"
    view = _view(after)
    for log in logs:
        held = heads_of(log[: new.position.revision])
        if view == {key: (document.version, document.encoded) for key, document in held.items()}:
            return None
    shown = ", ".join(f"{key.id} v{entry.version}" for key, entry in new.entries.items())
    return f"right: at {new.position} the view shows [{shown}], which no store held there"
