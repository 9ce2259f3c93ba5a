"""The market pipeline as the engine sees it: three plain functions around `translate`, `analyze` and `merge`.

Imports only public names of runstate, and nothing heavy: each stage loads what it needs in its own process.

The configuration is `metadata["config"]`, else the environment's RUNSTATE_MARKET_CONFIG. A relative path counts from
RUNSTATE_TARGET_DIR (the folder of the file being served; the server sets it), else from the current folder. Where
RUNSTATE_TARGET_DIR is set, the file must lie below it, symbolic links resolved: whoever may start a run over HTTP
may not read files elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runstate import Fatal, Pipeline, StageContext
from runstate.market.failures import MarketError

if TYPE_CHECKING:
    from runstate.market.folder import OutFolder
    from runstate.market.manifest import Run
    from runstate.market.settings import Config

    Work = Callable[[Config, OutFolder, Run], dict[str, object]]

market = Pipeline("market")


@market.stage
def translator(ctx: StageContext) -> dict[str, object]:
    """Turn raw exports into Parquet bars per trading day."""
    from runstate.market.translate import translate  # polars only in the stage

    return _work(ctx, translate)


@market.stage
def analyzer(ctx: StageContext) -> dict[str, object]:
    """Turn bars into opening-range-breakout results."""
    from runstate.market.analyze import analyze  # polars only in the stage

    return _work(ctx, analyze)


@market.stage
def merger(ctx: StageContext) -> dict[str, object]:
    """Turn results into monthly tables and the report."""
    from runstate.market.merge import merge  # polars only in the stage

    return _work(ctx, merge)


def find_config(metadata: Mapping[str, Any], environment: Mapping[str, str], cwd: Path) -> Path:
    """Return where the run's configuration lies.

    Raises:
        MarketError: None is named, or it lies outside the served folder.
    """
    named = metadata.get("config", environment.get("RUNSTATE_MARKET_CONFIG"))
    if not isinstance(named, str) or not named:
        raise MarketError(
            'the market pipeline needs a configuration; start the run with metadata {"config": "market.toml"} '
            "or set RUNSTATE_MARKET_CONFIG",
            code="bad_config",
        )
    target = environment.get("RUNSTATE_TARGET_DIR")
    path = (Path(target) if target else cwd) / named
    resolved = path.resolve()
    if target and not resolved.is_relative_to(Path(target).resolve()):
        raise MarketError(
            f"config {named} lies outside {target}; put it below the folder that is served",
            code="bad_config",
        )
    return resolved


def _work(ctx: StageContext, work: Work) -> dict[str, object]:
    from runstate.market.config import load_config
    from runstate.market.folder import OutFolder

    try:
        config = load_config(find_config(ctx.metadata, os.environ, Path.cwd()))
        out = OutFolder(config.out)
        with out.locked():
            return work(config, out, ctx)
    except MarketError as error:
        raise Fatal(str(error), code=error.code) from None
