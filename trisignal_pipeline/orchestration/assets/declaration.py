"""What all assets have in common."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg

from trisignal_pipeline.orchestration.documents import document
from trisignal_pipeline.orchestration.partitions import DAILY_BY_SYMBOL
from trisignal_pipeline.orchestration.step_retries import tried_again

OWNERS = ["team:trisignal"]
ONE_RUN_A_RANGE = dg.BackfillPolicy.single_run()


def table(name: str, *described: tuple[str, str, str], explained_in: str) -> dict[str, Any]:
    """Definition metadata that shows where rows go: each column's name, type and meaning.

    Names with commas between them are columns of one type and one meaning. `explained_in` is the
    file in `docs` that has the rest.
    """
    return {
        **document(explained_in),
        "dagster/table_name": name,
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(column, kind, description=meaning)
                for names, kind, meaning in described
                for column in names.split(", ")
            ]
        ),
    }


def partitioned_asset(
    name: str,
    *,
    group: str,
    kinds: set[str],
    checks: Sequence[dg.AssetCheckSpec],
    metadata: dict[str, Any],
    deps: Sequence[str] = (),
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """An asset of symbols and dates, any box of which one run can take. Its docstring describes it.

    The function takes `context`, annotated with the class itself: Dagster reads it as an object.
    It is tried again after a `TransientError`.
    """

    def declare(function: Callable[..., Any]) -> dg.AssetsDefinition:
        with warnings.catch_warnings():
            # Backfill policies are a beta parameter of this decorator; the release is pinned.
            warnings.simplefilter("ignore", dg.BetaWarning)
            return dg.asset(
                name=name,
                deps=list(deps),
                group_name=group,
                kinds=kinds,
                owners=OWNERS,
                metadata=metadata,
                partitions_def=DAILY_BY_SYMBOL,
                backfill_policy=ONE_RUN_A_RANGE,
                check_specs=list(checks),
            )(tried_again(function))

    return declare
