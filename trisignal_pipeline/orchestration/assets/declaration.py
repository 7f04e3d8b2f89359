"""What all assets have in common."""

from __future__ import annotations

from typing import Any

import dagster as dg

OWNERS = ["team:trisignal"]
ONE_RUN_A_RANGE = dg.BackfillPolicy.single_run()


def table(name: str, *described: tuple[str, str, str]) -> dict[str, Any]:
    """Definition metadata that shows where rows go: each column's name, type and meaning."""
    return {
        "dagster/table_name": name,
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(name, kind, description=meaning) for name, kind, meaning in described
            ]
        ),
    }
