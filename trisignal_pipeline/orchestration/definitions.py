"""Everything Dagster loads: assets with their checks, resources, and what keeps them in step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from trisignal_pipeline.orchestration.assets.clean_bars import clean_bars
from trisignal_pipeline.orchestration.assets.legacy_bars import legacy_bars
from trisignal_pipeline.orchestration.assets.pipeline_health import pipeline_health
from trisignal_pipeline.orchestration.assets.raw_dbn_files import raw_dbn_files
from trisignal_pipeline.orchestration.assets.signals import signals
from trisignal_pipeline.orchestration.daily_schedule import (
    daily_bars,
    newest_date_of_every_symbol,
)
from trisignal_pipeline.orchestration.doubt_sensor import (
    follow_lead_contract,
    follow_legacy_bars,
    refresh_signals,
    signals_follow_the_bars,
)
from trisignal_pipeline.orchestration.failure_webhook import failures_are_told
from trisignal_pipeline.orchestration.health_schedule import health_is_measured, measure_health
from trisignal_pipeline.orchestration.housekeeping import housekeeping, housekeeping_is_done
from trisignal_pipeline.orchestration.io_manager import NothingStored
from trisignal_pipeline.orchestration.lost_runs import lost_runs_end
from trisignal_pipeline.orchestration.new_files import read_new_files
from trisignal_pipeline.orchestration.raw_folder_sensor import (
    bars_follow_the_raw_folder,
    follow_raw_folder,
)
from trisignal_pipeline.orchestration.recent_dates_sensor import recent_dates_are_there
from trisignal_pipeline.orchestration.registry_sensor import symbols_follow_the_registry
from trisignal_pipeline.orchestration.resources import (
    NobodyWatches,
    PostgresResource,
    PurchasesResource,
    RawFolderResource,
)


def build_defs(resource_overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """The definitions, with `resource_overrides` in place of the resources of the same names."""
    return dg.Definitions(
        assets=[raw_dbn_files, legacy_bars, clean_bars, signals, pipeline_health],
        jobs=[
            refresh_signals,
            follow_legacy_bars,
            follow_lead_contract,
            daily_bars,
            read_new_files,
            follow_raw_folder,
            measure_health,
            housekeeping,
        ],
        schedules=[newest_date_of_every_symbol, health_is_measured, housekeeping_is_done],
        sensors=[
            symbols_follow_the_registry,
            signals_follow_the_bars,
            bars_follow_the_raw_folder,
            recent_dates_are_there,
            lost_runs_end,
            failures_are_told,
        ],
        resources={
            "postgres": PostgresResource(),
            "raw_folder": RawFolderResource(),
            "purchases": PurchasesResource(),
            "progress": NobodyWatches(),
            "io_manager": NothingStored(),
            **(resource_overrides or {}),
        },
        executor=dg.in_process_executor,
    )


defs = build_defs()
