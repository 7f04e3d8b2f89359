"""The registry: four markets to begin with, more by hand, and no values that no market has."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from trisignal_pipeline.errors import ConfigurationError, SymbolError, UnknownSymbolError
from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.market.hygiene import INDEX_FUTURE, HygieneThresholds
from trisignal_pipeline.market.symbols import (
    Anchor,
    InternalSymbol,
    Market,
    RollRule,
    TriangleFilters,
)
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.registry import (
    SETTABLE,
    active_symbols,
    add_symbol,
    list_symbols,
    market,
    set_symbol,
)
from trisignal_pipeline_tests.storage.stored_bars import by_hand

NQ, MGC = "GLBX.MDP3:NQ", "GLBX.MDP3:MGC"


@pytest.fixture
def connection(undone: Connection) -> Connection:
    """A connection to a registry as it comes."""
    return undone


@pytest.mark.parametrize(
    ("root", "tick"), [("NQ", "0.25"), ("ES", "0.25"), ("YM", "1"), ("RTY", "0.1")]
)
def test_four_index_futures_are_there_from_the_start(
    connection: Connection, root: str, tick: str
) -> None:
    found = market(connection, f"GLBX.MDP3:{root}")

    assert found == Market(
        InternalSymbol("GLBX.MDP3", root),
        RollRule.VOLUME,
        rank=0,
        anchor=Anchor.SESSION,
        session_profile="cme_equity",
        hygiene=INDEX_FUTURE,
        filters=TriangleFilters(),
        tick_size=Decimal(tick),
        history_start=None,
        is_active=True,
    )
    assert found.hygiene == HygieneThresholds(
        price_floor=1000 * PRICE_UNIT,
        discontinuity=500 * PRICE_UNIT,
        small_range=10 * PRICE_UNIT,
        big_gap=150 * PRICE_UNIT,
        flat_discontinuity=50 * PRICE_UNIT,
    )
    assert len(list_symbols(connection)) == 4


def test_a_new_market_has_defaults_that_fit_any(connection: Connection) -> None:
    assert add_symbol(connection, MGC, {})

    assert market(connection, MGC) == Market(InternalSymbol("GLBX.MDP3", "MGC"), asset_class=None)
    assert market(connection, MGC).continuous == "MGC.v.0"
    [row] = [row for row in list_symbols(connection) if row["internal_symbol"] == MGC]
    assert (row["schema"], row["stype_in"], row["vendor_dataset"]) == (
        "ohlcv-1m",
        "continuous",
        "GLBX.MDP3",
    )


def test_adding_again_changes_only_what_is_said(connection: Connection) -> None:
    add_symbol(connection, MGC, {"tick_size": "0.1"})

    assert not add_symbol(connection, MGC, {"rank": "1"})
    assert not add_symbol(connection, MGC, {})

    found = market(connection, MGC)
    assert (found.tick_size, found.rank) == (Decimal("0.1"), 1)


@pytest.mark.parametrize("symbol", ["NQ", "NQ.v.0", "glbx.mdp3:nq", "GLBX.MDP3:"])
def test_a_malformed_symbol_is_not_looked_for(connection: Connection, symbol: str) -> None:
    for ask in (lambda: market(connection, symbol), lambda: add_symbol(connection, symbol, {})):
        with pytest.raises(SymbolError, match="write DATASET:ROOT"):
            ask()

    assert len(list_symbols(connection)) == 4


def test_an_unknown_symbol_names_the_command_that_adds_it(connection: Connection) -> None:
    with pytest.raises(
        UnknownSymbolError,
        match=r"GLBX.MDP3:MGC is not in the symbol registry, which has GLBX.MDP3:ES, GLBX.MDP3:NQ, "
        r"GLBX.MDP3:RTY, GLBX.MDP3:YM; add it with: trisignal symbols add GLBX.MDP3:MGC",
    ):
        market(connection, MGC)
    with pytest.raises(UnknownSymbolError, match="trisignal symbols add"):
        set_symbol(connection, MGC, {"rank": "1"})


def test_an_empty_registry_says_that_it_is(database_url: str) -> None:
    by_hand(database_url, "DELETE FROM symbol_registry")

    with Database(database_url).connect("tests") as connection:
        with pytest.raises(UnknownSymbolError, match="which has none; add it"):
            market(connection, NQ)
        assert active_symbols(connection) == []


VALUES: dict[str, tuple[object, object]] = {
    # column: (as it is given on a command line, as it is read)
    "roll_rule": ("c", RollRule.CALENDAR),
    "rank": ("2", 2),
    "is_active": ("false", False),
    "higher_timeframe_anchor": ("utc", Anchor.UTC),
    "history_start": ("2015-01-02", date(2015, 1, 2)),
    "tick_size": ("0.0000005", Decimal("0.0000005")),
    "price_floor": ("-40.5", -40_500_000_000),
    "discontinuity_points": ("500.25", 500_250_000_000),
    "small_range_points": (None, None),
    "big_gap_points": ("0", 0),
    "flat_discontinuity_points": ("0.000000001", 1),
    "lockout_alarm_minutes": ("45", 45),
    "require_engulfing": ("true", True),
    "require_sweep_engulfing": ("true", True),
    "htf_aligned_only": ("true", True),
    "aligned_timeframes": (["1h", "1d"], ("1h", "1d")),
}
THRESHOLDS = {
    "price_floor": "price_floor",
    "discontinuity_points": "discontinuity",
    "small_range_points": "small_range",
    "big_gap_points": "big_gap",
    "flat_discontinuity_points": "flat_discontinuity",
}


def test_every_setting_has_an_example_here() -> None:
    assert set(VALUES) == set(SETTABLE)


@pytest.mark.parametrize("name", SETTABLE)
def test_a_setting_is_read_as_it_was_set(connection: Connection, name: str) -> None:
    shown, meant = VALUES[name]
    before = {row["internal_symbol"]: row for row in list_symbols(connection)}

    set_symbol(connection, NQ, {name: shown})

    found = market(connection, NQ)
    holder: object = found
    attribute = {"higher_timeframe_anchor": "anchor"}.get(name, name)
    if name in THRESHOLDS:
        holder, attribute = found.hygiene, THRESHOLDS[name]
    elif hasattr(found.filters, name):
        holder = found.filters
    assert getattr(holder, attribute) == meant
    after = {row["internal_symbol"]: row for row in list_symbols(connection)}
    assert after.pop(NQ)["updated_at"] > before.pop(NQ)["updated_at"]
    assert after == before


REFUSED = [
    ("roll_rule", "x"),
    ("roll_rule", None),
    ("rank", "-1"),
    ("rank", "first"),
    ("rank", "99999999999"),
    ("rank", None),
    ("is_active", "perhaps"),
    ("is_active", None),
    ("higher_timeframe_anchor", "tokyo"),
    ("history_start", "yesterweek"),
    ("history_start", "2024-02-30"),
    ("history_start", "infinity"),
    ("tick_size", "0"),
    ("tick_size", "-0.25"),
    ("tick_size", "NaN"),
    ("tick_size", "Infinity"),
    ("price_floor", "low"),
    ("price_floor", "NaN"),
    ("price_floor", "-Infinity"),
    ("discontinuity_points", "0.0000000001"),
    ("big_gap_points", "1e30"),
    ("lockout_alarm_minutes", "0"),
    ("require_engulfing", "sometimes"),
    ("aligned_timeframes", ["2m"]),
    ("aligned_timeframes", None),
]


@pytest.mark.parametrize(("name", "value"), REFUSED)
def test_a_value_that_no_market_has_is_refused_and_changes_nothing(
    connection: Connection, name: str, value: object
) -> None:
    before = list_symbols(connection)

    with pytest.raises(ConfigurationError, match=r"GLBX.MDP3:NQ: .+"):
        set_symbol(connection, NQ, {"rank": "3", name: value})

    assert list_symbols(connection) == before


@pytest.mark.parametrize("name", ["internal_symbol", "dataset", "nonsense", "rank; DROP TABLE x"])
def test_what_follows_from_the_symbol_cannot_be_set(connection: Connection, name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"can't be set; settable are roll_rule, rank"):
        set_symbol(connection, NQ, {name: "1"})


def test_a_market_is_not_added_with_a_value_it_cannot_have(connection: Connection) -> None:
    with pytest.raises(ConfigurationError, match="tick_size can't be '-1'"):
        add_symbol(connection, MGC, {"tick_size": "-1"})

    assert len(list_symbols(connection)) == 4


def test_a_value_put_there_behind_our_back_is_named_and_can_be_set_right(
    connection: Connection,
) -> None:
    connection.execute("UPDATE symbol_registry SET price_floor = 'NaN' WHERE root = 'NQ'")

    with pytest.raises(
        ConfigurationError,
        match=r"price_floor is NaN, which is no price; .* trisignal symbols set GLBX.MDP3:NQ",
    ):
        market(connection, NQ)
    set_symbol(connection, NQ, {"price_floor": "1000"})

    assert market(connection, NQ).hygiene == INDEX_FUTURE


def test_only_active_symbols_are_worked_on(connection: Connection) -> None:
    set_symbol(connection, "GLBX.MDP3:ES", {"is_active": "false"})

    assert active_symbols(connection) == [NQ, "GLBX.MDP3:RTY", "GLBX.MDP3:YM"]
    assert not market(connection, "GLBX.MDP3:ES").is_active


DECIDES = set(SETTABLE) - {
    "roll_rule", "rank", "is_active", "tick_size", "lockout_alarm_minutes",
}  # fmt: skip


@pytest.mark.parametrize("name", SETTABLE)
def test_the_rules_of_a_symbol_are_what_decides_its_signals(
    connection: Connection, name: str
) -> None:
    before, others = market(connection, NQ).rules, market(connection, "GLBX.MDP3:ES").rules

    set_symbol(connection, NQ, {name: VALUES[name][0]})

    assert (market(connection, NQ).rules != before) == (name in DECIDES)
    assert market(connection, "GLBX.MDP3:ES").rules == others == before


def test_the_same_rules_written_otherwise_are_the_same(connection: Connection) -> None:
    before = market(connection, NQ).rules

    set_symbol(
        connection,
        NQ,
        {"price_floor": "1000.00", "aligned_timeframes": ["1d", "5m", "1h", "4h", "15m", "5m"]},
    )

    assert market(connection, NQ).rules == before
