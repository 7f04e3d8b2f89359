"""Minutes that a run explains in its log."""

# Dagster reads annotations as objects: no postponed evaluation in this file.

import dagster as dg
import pytest

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.market.dates import iso_minute
from trisignal_pipeline.orchestration.explained_minutes import asked_minutes, log_explanations
from trisignal_pipeline.orchestration.partitions import partition_key
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.explanation import explain_minute, explanation_lines
from trisignal_pipeline_tests.pipeline import Pipeline
from trisignal_pipeline_tests.storage.stored_bars import DAY, NQ, bar, days_from, store, walk
from trisignal_pipeline_tests.tiny_market import MONDAY, write_day

EARLIER, LATER = bar(15).ts, bar(16).ts


class TestAskedMinutes:
    def test_the_configuration_and_the_environment_are_both_asked(self) -> None:
        assert asked_minutes([iso_minute(LATER)], {"DEBUG_TS": iso_minute(EARLIER)}) == [
            EARLIER,
            LATER,
        ]

    @pytest.mark.parametrize("between", [",", " ", ", ", " ,\n"])
    def test_the_variable_may_hold_several(self, between: str) -> None:
        listed = between.join(map(iso_minute, (LATER, EARLIER, LATER)))
        assert asked_minutes([], {"DEBUG_TS": listed}) == [EARLIER, LATER]

    @pytest.mark.parametrize("environment", [{}, {"DEBUG_TS": ""}, {"DEBUG_TS": " ,"}])
    def test_nothing_is_asked_by_default(self, environment: dict[str, str]) -> None:
        assert asked_minutes([], environment) == []

    def test_what_is_no_minute_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"DEBUG_TS: '2024-06-17T00:15' names no"):
            asked_minutes(["2024-06-17T00:15"], {})


def test_the_run_log_holds_the_explanations_of_the_dates_of_the_run(database_url: str) -> None:
    database = Database(database_url)
    history = walk(days_from(DAY, 2), seed=5, share=0.05)
    store(database, history, days_from(DAY, 2))
    first, other_day = history[10].ts, history[-1].ts
    traded = {row.ts for row in history}
    empty = next(ts for ts in range(first, other_day, 60_000_000_000) if ts not in traded)

    with database.connect("test", autocommit=True) as connection:
        market = registry.market(connection, NQ)
        expected = explanation_lines(explain_minute(connection, market, first))

    @dg.asset
    def explained(context: dg.AssetExecutionContext) -> None:
        with database.connect("test", autocommit=True) as connection:
            log_explanations(context, connection, market, [DAY], [first, empty, other_day])

    with dg.DagsterInstance.ephemeral() as instance:
        run = dg.materialize([explained], instance=instance)
        logged = [
            entry.user_message for entry in instance.all_logs(run.run_id) if not entry.dagster_event
        ]
    assert logged[0] == "\n".join(expected)
    assert "no bar opens there" in logged[1]
    assert len(logged) == 2


def test_a_materialisation_explains_the_minutes_of_its_configuration(pipeline: Pipeline) -> None:
    write_day(pipeline.raw, MONDAY)
    with pipeline.instance() as instance:
        run = pipeline.launch(
            instance,
            partition_key=partition_key(NQ, MONDAY),
            ops={"signals": {"config": {"debug_ts": ["2024-06-24T10:00:00Z"]}}},
        )
        logged = [entry.user_message for entry in instance.all_logs(run.run_id)]
    [explained] = [text for text in logged if text.startswith(f"{NQ} 2024-06-24T10:00:00Z, from")]
    assert "decision" in explained
    assert "say the same" in explained
