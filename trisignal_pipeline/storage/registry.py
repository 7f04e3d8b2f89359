"""The symbol registry: which markets there are, and what is particular to each."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from psycopg import errors, sql

from trisignal_pipeline.errors import ConfigurationError, UnknownSymbolError
from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.market.hygiene import HygieneThresholds
from trisignal_pipeline.market.symbols import (
    Anchor,
    Market,
    RollRule,
    TriangleFilters,
    parse_internal,
)
from trisignal_pipeline.storage.connection import Connection, rows

_SMALLEST_PRICE = Decimal(1) / PRICE_UNIT

_THRESHOLDS = {
    "price_floor": "price_floor",
    "discontinuity_points": "discontinuity",
    "small_range_points": "small_range",
    "big_gap_points": "big_gap",
    "flat_discontinuity_points": "flat_discontinuity",
}

SETTABLE = (
    "roll_rule",
    "rank",
    "is_active",
    "higher_timeframe_anchor",
    "history_start",
    "tick_size",
    *_THRESHOLDS,
    "lockout_alarm_minutes",
    "require_engulfing",
    "require_sweep_engulfing",
    "htf_aligned_only",
    "aligned_timeframes",
)
"""The columns a user may change. The others follow from the symbol itself."""


def market(connection: Connection, symbol: str) -> Market:
    """The registry's row for `symbol`.

    Raises:
        SymbolError: `symbol` is malformed.
        UnknownSymbolError: the registry has no such symbol.
    """
    _require_known(connection, symbol)
    [row] = rows(
        connection,
        """
        SELECT *, signal_rules(internal_symbol) AS rules FROM symbol_registry
        WHERE internal_symbol = %s
        """,
        symbol,
    )
    return _market(row)


def list_symbols(connection: Connection) -> list[dict[str, Any]]:
    """Every row of the registry, by symbol."""
    return rows(connection, "SELECT * FROM symbol_registry ORDER BY internal_symbol")


def active_symbols(connection: Connection) -> list[str]:
    """The symbols that are worked on, in order."""
    return [row["internal_symbol"] for row in list_symbols(connection) if row["is_active"]]


def add_symbol(connection: Connection, symbol: str, values: Mapping[str, object]) -> bool:
    """Enter `symbol` with defaults and `values` (of `SETTABLE`); False if it was there already.

    Raises:
        SymbolError: `symbol` is malformed.
        ConfigurationError: a value its column can't take.
    """
    parsed = parse_internal(symbol)
    with connection.transaction():
        added = connection.execute(_ADD, (symbol, parsed.dataset, parsed.root, parsed.dataset))
        if values:
            set_symbol(connection, symbol, values)
    return added.rowcount == 1


_ADD = """
    INSERT INTO symbol_registry (internal_symbol, dataset, root, roll_rule, rank, schema,
        stype_in, is_active, vendor_dataset, schema_name, timezone, session_profile, price_floor)
    VALUES (%s, %s, %s, 'v', 0, 'ohlcv-1m', 'continuous', true, %s, 'ohlcv-1m',
            'America/Chicago', 'cme_equity', 0)
    ON CONFLICT (internal_symbol) DO NOTHING
"""


def set_symbol(connection: Connection, symbol: str, values: Mapping[str, object]) -> None:
    """Change `values` (of `SETTABLE`) of a registered symbol.

    Raises:
        UnknownSymbolError: the registry has no such symbol.
        ConfigurationError: a column that can't be set, or a value it can't take.
    """
    unknown = sorted(set(values) - set(SETTABLE))
    if unknown:
        raise ConfigurationError(
            f"{symbol}: {', '.join(unknown)} can't be set; settable are {', '.join(SETTABLE)}"
        )
    _require_known(connection, symbol)
    with connection.transaction():
        for name, value in values.items():
            _set(connection, symbol, name, value)
        # A column takes values that no market has: what was set is read back before it stays.
        try:
            market(connection, symbol)
        except errors.DataError as error:
            raise ConfigurationError(f"{symbol}: a value can't be used: {error}") from None


def _require_known(connection: Connection, symbol: str) -> None:
    parse_internal(symbol)
    known = [row["internal_symbol"] for row in list_symbols(connection)]
    if symbol not in known:
        raise UnknownSymbolError(
            f"{symbol} is not in the symbol registry, which has {', '.join(known) or 'none'}; "
            f"add it with: trisignal symbols add {symbol}"
        )


_ALLOWED = {
    "roll_rule": "v, c or n",
    "rank": "a whole number from 0 up",
    "is_active": "true or false",
    "higher_timeframe_anchor": "session or utc",
    "history_start": "a date such as 2014-05-01, or nothing",
    "tick_size": "a price in points, or nothing",
    **dict.fromkeys(_THRESHOLDS, "a price in points, or nothing to switch the rule off"),
    "lockout_alarm_minutes": "a whole number from 1 up",
    **dict.fromkeys(
        ("require_engulfing", "require_sweep_engulfing", "htf_aligned_only"), "true or false"
    ),
    "aligned_timeframes": "5m, 15m, 1h, 4h and 1d, or some of them",
}
"""What each setting takes, in words."""


def _set(connection: Connection, symbol: str, name: str, value: object) -> None:
    statement = sql.SQL(
        "UPDATE symbol_registry SET {} = %s, updated_at = now() WHERE internal_symbol = %s"
    ).format(sql.Identifier(name))
    try:
        with connection.transaction():
            connection.execute(statement, (value, symbol))
    except (errors.DataError, errors.CheckViolation, errors.NotNullViolation) as error:
        raise ConfigurationError(
            f"{symbol}: {name} can't be {value!r}; it takes "
            f"{_ALLOWED.get(name, error.diag.message_primary)}"
        ) from None


def _market(row: Mapping[str, Any]) -> Market:
    symbol = row["internal_symbol"]
    return Market(
        symbol=parse_internal(symbol),
        asset_class=row["asset_class"],
        roll_rule=RollRule(row["roll_rule"]),
        rank=row["rank"],
        anchor=Anchor(row["higher_timeframe_anchor"]),
        # A registry of an earlier system may not know of profiles.
        session_profile=row["session_profile"] or "cme_equity",
        lockout_alarm_minutes=row["lockout_alarm_minutes"],
        hygiene=HygieneThresholds(
            **{limit: _units(symbol, column, row[column]) for column, limit in _THRESHOLDS.items()}
        ),
        filters=TriangleFilters(
            require_engulfing=row["require_engulfing"],
            require_sweep_engulfing=row["require_sweep_engulfing"],
            htf_aligned_only=row["htf_aligned_only"],
            aligned_timeframes=tuple(row["aligned_timeframes"]),
        ),
        tick_size=_price(symbol, "tick_size", row["tick_size"]),
        history_start=row["history_start"],
        is_active=row["is_active"],
        rules=row["rules"],
    )


def _units(symbol: str, column: str, points: Decimal | None) -> int | None:
    price = _price(symbol, column, points)
    return None if price is None else int(price * PRICE_UNIT)


def _price(symbol: str, column: str, points: Decimal | None) -> Decimal | None:
    """`points`, if they are a price: of a size and with no more than the nine decimals it has."""
    try:
        if points is None or points == points.quantize(_SMALLEST_PRICE):
            return points
    except InvalidOperation:
        pass
    raise ConfigurationError(
        f"{symbol}: {column} is {points}, which is no price; "
        f"set it with: trisignal symbols set {symbol} {column}=POINTS"
    )
