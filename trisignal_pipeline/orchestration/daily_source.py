"""Where the bars of a new day come from: the files that arrive, or Databento's API."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.orchestration.assets import raw_dbn_files
from trisignal_pipeline.orchestration.assets.raw_dbn_files import RawSource
from trisignal_pipeline.storage.purchases import DEFAULT_BUDGET_USD

SOURCE_VARIABLE = "TRISIGNAL_DAILY_SOURCE"
BUDGET_VARIABLE = "TRISIGNAL_DAILY_BUDGET_USD"


def daily_source(environment: Mapping[str, str] = os.environ) -> RawSource:
    """The source that `TRISIGNAL_DAILY_SOURCE` names, or files.

    Raises:
        ConfigurationError: it names no source.
    """
    named = environment.get(SOURCE_VARIABLE) or RawSource.files.name
    if named not in RawSource.__members__:
        raise ConfigurationError(
            f"{SOURCE_VARIABLE} is {named!r}; write {' or '.join(RawSource.__members__)}"
        )
    return RawSource[named]


def daily_budget_usd(environment: Mapping[str, str] = os.environ) -> float:
    """What the run of one symbol may spend: `TRISIGNAL_DAILY_BUDGET_USD`, or 5 US dollars.

    Raises:
        ConfigurationError: the variable holds no amount.
    """
    named = environment.get(BUDGET_VARIABLE)
    if not named:
        return DEFAULT_BUDGET_USD
    try:
        budget = float(named)
    except ValueError:
        budget = math.nan
    if not (math.isfinite(budget) and budget >= 0):
        raise ConfigurationError(
            f"{BUDGET_VARIABLE} is {named!r}; write an amount in US dollars, such as 2.50"
        )
    return budget


def daily_run_config(environment: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Run config of a run over new days.

    Raises:
        ConfigurationError: as `daily_source` and `daily_budget_usd` do.
    """
    source = daily_source(environment)
    if source is RawSource.files:
        return {}
    config = {"source": source.name, "budget_usd": daily_budget_usd(environment)}
    return {"ops": {raw_dbn_files.NAME: {"config": config}}}
