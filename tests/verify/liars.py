"""Every liar, and the one promise that it breaks."""

from __future__ import annotations

from tests.verify.lying_answers import (
    AnswersFromBefore,
    CachesForEver,
    ForgesAnAnswer,
    HistoryHasAHole,
    LosesTheLastCommit,
    RewritesHistory,
    StaysUnchanged,
    WasUnchanged,
)
from tests.verify.lying_streams import (
    BreaksTheChain,
    ChangesAByte,
    FallsSilent,
    GoesBack,
    HasAnOldSource,
    LeavesOut,
    NamesAWrongDigest,
    NamesAWrongId,
    PatchesFromNowhere,
    PatchesWrongly,
    ReplaysAfterResume,
    ReplaysInDisguise,
    SendsTwice,
    SkipsAVersion,
    SplitsACommit,
    StandsStill,
    SwapsTwo,
    WithholdsHalfACommit,
)
from tests.verify.proxy import Truth

#: Each with the one promise that `verify` must name.
LIARS: list[tuple[type[Truth], str]] = [
    (GoesBack, "ordered"),
    (CachesForEver, "ordered"),
    (AnswersFromBefore, "ordered"),
    (SendsTwice, "unique"),
    (SkipsAVersion, "gap-free"),
    (BreaksTheChain, "gap-free"),
    (SwapsTwo, "gap-free"),
    (PatchesFromNowhere, "gap-free"),
    (SplitsACommit, "atomic"),
    (WithholdsHalfACommit, "atomic"),
    (ReplaysAfterResume, "resumable"),
    (ReplaysInDisguise, "resumable"),
    (NamesAWrongId, "resumable"),
    (LeavesOut, "bookmarkable"),
    (WasUnchanged, "bookmarkable"),
    (ChangesAByte, "byte-identical"),
    (NamesAWrongDigest, "byte-identical"),
    (PatchesWrongly, "byte-identical"),
    (ForgesAnAnswer, "byte-identical"),
    (LosesTheLastCommit, "durable"),
    (RewritesHistory, "durable"),
    (HistoryHasAHole, "durable"),
    (FallsSilent, "honest"),
    (HasAnOldSource, "honest"),
    (StandsStill, "converges"),
    (StaysUnchanged, "converges"),
]
