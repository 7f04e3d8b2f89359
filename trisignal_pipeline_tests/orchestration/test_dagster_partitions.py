"""Partition keys, the symbols that follow the registry, and the scope of a run."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.errors import ConfigurationError, WrongRunError
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.orchestration.io_manager import NothingStored
from trisignal_pipeline.orchestration.partitions import (
    BAR_DATES,
    FIRST_DATE_VARIABLE,
    SymbolChanges,
    first_bar_date,
    parse_partition_key,
    partition_key,
    sync_symbols,
)
from trisignal_pipeline.orchestration.run_scope import SymbolDates, by_symbol

SYMBOLS = st.from_regex(r"[A-Z0-9]{2,5}\.[A-Z0-9]{2,5}:[A-Z0-9]{1,8}", fullmatch=True)
DATES = st.dates(date(2010, 6, 6), date(2035, 12, 31))


@given(SYMBOLS, DATES)
def test_a_key_is_what_dagster_makes_of_its_dimensions(symbol: str, day: date) -> None:
    key = partition_key(symbol, day)
    assert key == dg.MultiPartitionKey({"symbol": symbol, "date": str(day)})
    assert parse_partition_key(key) == (symbol, day)


@given(st.lists(st.tuples(st.sampled_from(["X.Y:B", "X.Y:A", "X.Y:C"]), DATES)))
def test_keys_are_grouped_by_symbol_in_order_of_first_mention(
    pairs: list[tuple[str, date]],
) -> None:
    scopes = by_symbol(partition_key(*pair) for pair in pairs)

    mentioned = [symbol for symbol, _ in pairs]
    assert [scope.symbol for scope in scopes] == sorted(set(mentioned), key=mentioned.index)
    for scope in scopes:
        assert list(scope.dates) == sorted({day for symbol, day in pairs if symbol == scope.symbol})
        assert [parse_partition_key(key) for key in scope.partition_keys] == [
            (scope.symbol, day) for day in scope.dates
        ]
        assert [day for dates in scope.ranges for day in dates] == list(scope.dates)


def test_dates_that_follow_each_other_are_one_range() -> None:
    days = (date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1), date(2024, 3, 3))
    assert SymbolDates("X.Y:A", days).ranges == [
        DateRange(days[0], days[2]),
        DateRange(days[3], days[3]),
    ]


def test_the_newest_partition_is_the_newest_date_that_is_over() -> None:
    before = datetime.now(UTC).date()
    newest = BAR_DATES.get_last_partition_key()
    after = datetime.now(UTC).date()
    assert newest in {str(today - timedelta(days=1)) for today in (before, after)}


def test_the_first_date_comes_from_the_environment() -> None:
    assert first_bar_date({}) == date(2010, 6, 6)
    assert first_bar_date({FIRST_DATE_VARIABLE: "2024-01-02"}) == date(2024, 1, 2)
    with pytest.raises(ConfigurationError, match=r"'soon'.*2010-06-06"):
        first_bar_date({FIRST_DATE_VARIABLE: "soon"})


def test_symbols_follow_the_registry(instance: dg.DagsterInstance) -> None:
    assert sync_symbols(instance, ["X.Y:B", "X.Y:A"]) == SymbolChanges(("X.Y:A", "X.Y:B"), ())
    assert sync_symbols(instance, iter(["X.Y:B", "X.Y:A"])) == SymbolChanges((), ())
    assert sync_symbols(instance, ["X.Y:A", "X.Y:C"]) == SymbolChanges(("X.Y:C",), ("X.Y:B",))
    assert instance.get_dynamic_partitions("symbol") == ["X.Y:A", "X.Y:C"]


def test_a_value_that_would_be_lost_is_refused() -> None:
    context = dg.build_output_context(asset_key=dg.AssetKey("clean_bars"))
    NothingStored().handle_output(context, None)
    with pytest.raises(WrongRunError, match="clean_bars: the asset returned a value"):
        NothingStored().handle_output(context, [1])


def test_there_is_nothing_to_load() -> None:
    context = dg.build_input_context(name="legacy_bars")
    with pytest.raises(WrongRunError, match="legacy_bars: nothing is handed"):
        NothingStored().load_input(context)
