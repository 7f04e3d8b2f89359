"""What a legacy bar, a clean bar, a bias row and a triangle must be: the one statement of it.

The same schemas decide which delivered rows are rejected and under which name, what a stored
partition is judged by, and what the documents say. The arithmetic of a rule lives in
`market.hygiene`; its name, its wording and where it applies live here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import pandera.pandas as pa

from trisignal_pipeline.market import hygiene
from trisignal_pipeline.market.bars import Bars, Bools
from trisignal_pipeline.market.dates import NS_PER_MINUTE
from trisignal_pipeline.market.hygiene import HygieneThresholds, Rule
from trisignal_pipeline.market.prices import points
from trisignal_pipeline.signal.rules import BIAS_NAMES, DIRECTION_NAMES

PRICES = ("open", "high", "low", "close")
BIAS_COLUMNS = ("bias_1m", "bias_5m", "bias_15m", "bias_1h", "bias_4h", "bias_1d")
TRIANGLE_BIAS_COLUMNS = ("bias_1m", "bias_m5", "bias_m15", "bias_h1", "bias_h4", "bias_d1")


def rule_wordings(
    limits: HygieneThresholds | None = None, tick: int | None = None
) -> dict[Rule, str]:
    """What a bar that breaks each rule is like: the wording that checks and documents use.

    Args:
        limits: the thresholds of a market; without them the wordings name the registry's columns
            instead of numbers.
        tick: the market's smallest step of the price, in int64 units of 1e-9.
    """

    def threshold(column: str, units: int | None) -> str:
        if limits is None:
            return column
        return f"{column}, which is off" if units is None else f"{points(units)} points"

    known = HygieneThresholds() if limits is None else limits
    floor = threshold("price_floor", known.price_floor)
    discontinuity = threshold("discontinuity_points", known.discontinuity)
    small_range = threshold("small_range_points", known.small_range)
    big_gap = threshold("big_gap_points", known.big_gap)
    flat = threshold("flat_discontinuity_points", known.flat_discontinuity)
    return {
        Rule.UNALIGNED_MINUTE: "it doesn't open on a whole minute",
        Rule.UNDEFINED_PRICE: "a price isn't there (Databento's largest int64)",
        Rule.OHLC_INTEGRITY: "high < max(open, close), or low > min(open, close), or high < low",
        Rule.NEGATIVE_PRICE: "a price below 0, unless the market's floor is below 0 or off",
        Rule.NEGATIVE_VOLUME: "a volume below 0",
        Rule.DUPLICATE_MINUTE: "its own file has a later one for the same minute",
        Rule.SUPERSEDED_BY_LATER_FILE: "a later file has another one for the same minute",
        Rule.PRICE_FLOOR: f"a price below the floor ({floor})",
        Rule.OFF_TICK: f"a price that is no multiple of the tick ({threshold('tick_size', tick)})",
        Rule.DISCONTINUITY: f"the close is more than {discontinuity} from the last good close",
        Rule.SMALL_RANGE_BIG_GAP: (
            f"high - low is at most {small_range} and the close {big_gap} or more from the last "
            "good close"
        ),
        Rule.FLAT_DISCONTINUITY: (
            f"open = high = low = close, more than {flat} from the last good close"
        ),
    }


_WORDINGS = rule_wordings()


def _minute() -> pa.Check:
    return pa.Check(
        lambda ts: ts % NS_PER_MINUTE == 0,
        name=Rule.UNALIGNED_MINUTE.value,
        error=_WORDINGS[Rule.UNALIGNED_MINUTE],
    )


def _one_of(names: Sequence[str], name: str) -> pa.Check:
    return pa.Check.isin(names, name=name, error=f"one of {', '.join(names)}")


def _bar_columns() -> dict[str, pa.Column]:
    return {
        "ts": pa.Column("int64", _minute()),
        **{name: pa.Column("int64") for name in PRICES},
        "volume": pa.Column(
            "int64",
            pa.Check.ge(0, name=Rule.NEGATIVE_VOLUME.value, error=_WORDINGS[Rule.NEGATIVE_VOLUME]),
        ),
        "contract": pa.Column(),
    }


def _rule(rule: Rule, wordings: Mapping[Rule, str], broken: Callable[[Bars], Bools]) -> pa.Check:
    return pa.Check(
        lambda frame: pd.Series(~broken(_bars_of(frame)), index=frame.index),
        name=rule.value,
        error=wordings[rule],
    )


def legacy_bar(limits: HygieneThresholds) -> pa.DataFrameSchema:
    """A bar as delivered: whole, but not yet believed."""
    wordings = rule_wordings(limits)
    return pa.DataFrameSchema(
        columns=_bar_columns(),
        checks=[
            _rule(Rule.UNDEFINED_PRICE, wordings, hygiene.undefined_price),
            _rule(Rule.OHLC_INTEGRITY, wordings, hygiene.broken_ohlc),
            _rule(
                Rule.NEGATIVE_PRICE,
                wordings,
                lambda bars: hygiene.below(
                    bars, None if limits.price_floor is None or limits.price_floor < 0 else 0
                ),
            ),
        ],
        unique=["ts"],
        strict=True,
        name="legacy bar",
    )


def clean_bar(limits: HygieneThresholds) -> pa.DataFrameSchema:
    """A bar that can be believed: a legacy bar, and no price below the market's floor."""
    legacy = legacy_bar(limits)
    return pa.DataFrameSchema(
        columns=legacy.columns,
        checks=[
            *legacy.checks,
            _rule(
                Rule.PRICE_FLOOR,
                rule_wordings(limits),
                lambda bars: hygiene.below(bars, limits.price_floor),
            ),
        ],
        unique=["ts"],
        strict=True,
        name="clean bar",
    )


def bar_on_its_ticks(tick: int | None) -> pa.DataFrameSchema:
    """A bar whose prices are multiples of `tick` (int64 units of 1e-9); any bar if it is None.

    No bar is rejected for it: trades are reported off the tick now and then, and the price is real.
    """
    wordings = rule_wordings(HygieneThresholds(), tick)
    return pa.DataFrameSchema(
        checks=[_rule(Rule.OFF_TICK, wordings, lambda bars: hygiene.off_tick(bars, tick))],
        name="bar on its ticks",
    )


def rejected_by(schema: pa.DataFrameSchema) -> str:
    """What `screen` rejects bars for under `schema`, in words: the text of an asset check."""
    among_deliveries = (Rule.DUPLICATE_MINUTE, Rule.SUPERSEDED_BY_LATER_FILE)
    return _in_words([*_rules_of(schema), *among_deliveries])


def flagged_by(schema: pa.DataFrameSchema) -> str:
    """What bars that break `schema` are like, in words."""
    return _in_words(_rules_of(schema))


def _rules_of(schema: pa.DataFrameSchema) -> Iterable[Rule]:
    of_columns = [check for column in schema.columns.values() for check in column.checks]
    return dict.fromkeys(Rule(str(check.name)) for check in (*of_columns, *schema.checks))


def _in_words(rules: Iterable[Rule]) -> str:
    return "; ".join(f"{rule}: {_WORDINGS[rule]}" for rule in rules)


BIAS_ROW = pa.DataFrameSchema(
    columns={
        "ts": pa.Column("int64", _minute()),
        **{name: pa.Column(checks=_one_of(BIAS_NAMES, "KNOWN_BIAS")) for name in BIAS_COLUMNS},
    },
    unique=["ts"],
    strict=True,
    name="bias row",
)

TRIANGLE_EVENT = pa.DataFrameSchema(
    columns={
        "ts": pa.Column("int64", _minute()),
        "direction": pa.Column(checks=_one_of(DIRECTION_NAMES[1:], "KNOWN_DIRECTION")),
        **{
            name: pa.Column(checks=_one_of(BIAS_NAMES, "KNOWN_BIAS"))
            for name in TRIANGLE_BIAS_COLUMNS
        },
        **{
            name: pa.Column("bool")
            for name in ("htf_bullish", "htf_bearish", "engulfing", "sweep_engulfing")
        },
    },
    checks=[
        pa.Check(
            lambda frame: (
                frame["bias_1m"] == frame["direction"].map({"BULL": "Bullish", "BEAR": "Bearish"})
            ),
            name="DIRECTION_IS_THE_BIAS",
            error="a BULL triangle needs a Bullish 1-minute bias, a BEAR one a Bearish",
        ),
        pa.Check(
            lambda frame: frame["engulfing"] | ~frame["sweep_engulfing"],
            name="SWEEP_IS_ENGULFING",
            error="a sweep engulfing bar is an engulfing bar",
        ),
    ],
    unique=["ts", "direction"],
    strict=True,
    name="triangle",
)


def bar_frame(bars: Bars) -> pd.DataFrame:
    """`bars` as a frame the bar schemas judge: ts in ns (OPEN), prices in 1e-9, contract names."""
    return pd.DataFrame(
        {
            "ts": bars.ts,
            **{name: getattr(bars, name) for name in PRICES},
            "volume": bars.volume,
            "contract": pd.Categorical.from_codes(
                bars.contract, dtype=pd.CategoricalDtype(list(bars.contracts))
            ),
        }
    )


def broken_rows(schema: pa.DataFrameSchema, frame: pd.DataFrame) -> dict[str, Bools]:
    """For every check of `schema` by name: which rows of `frame` break it."""
    broken: dict[str, Bools] = {}
    for column in schema.columns.values():
        for check in column.checks:
            _note(broken, check, frame[column.name])
    for check in schema.checks:
        _note(broken, check, frame)
    if schema.unique:
        broken["UNIQUE"] = frame.duplicated(schema.unique, keep=False).to_numpy()
    return broken


def _note(broken: dict[str, Bools], check: pa.Check, judged: pd.Series | pd.DataFrame) -> None:
    # Columns may share a check: what breaks it in any of them breaks it.
    failed = ~np.asarray(check(judged).check_output, np.bool_)
    name = str(check.name)
    broken[name] = broken[name] | failed if name in broken else failed


def _bars_of(frame: pd.DataFrame) -> Bars:
    contract = frame["contract"].cat
    return Bars(
        **{name: frame[name].to_numpy() for name in ("ts", *PRICES, "volume")},
        contract=contract.codes.to_numpy().astype(np.int32),
        contracts=tuple(contract.categories),
    )
