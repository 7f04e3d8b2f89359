"""What a chart draws around its candles agrees with what the same tables say minute by minute."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from trisignal_pipeline.errors import RangeError
from trisignal_pipeline.query import chart
from trisignal_pipeline.query.explanation import explained
from trisignal_pipeline.query.series import TimeSpan
from trisignal_pipeline.query.signals import bias, triangles
from trisignal_pipeline.signal.rules import BIAS_NAMES, TIMEFRAMES
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline_tests.query.stored_market import NQ, StoredMarket, utc_ns

SPAN = TimeSpan(utc_ns("2024-11-28 00:00"), utc_ns("2024-12-01 00:00"))


@pytest.fixture
def connection(holiday_market: StoredMarket) -> Iterator[Connection]:
    with holiday_market.database.connect("test") as connection:
        yield connection


def test_biases_between_their_changes_are_those_of_every_minute(connection: Connection) -> None:
    changes = chart.bias_changes(connection, NQ, SPAN)
    minutes = bias(NQ, SPAN).table(connection).whole()

    ts = np.array([one.timestamp() for one in minutes.column("ts").to_pylist()])
    at = np.searchsorted(changes["ts"], ts, side="right") - 1
    for timeframe, name in zip(TIMEFRAMES, minutes.column_names[1:], strict=True):
        told = [BIAS_NAMES[code] for code in changes[timeframe][at]]
        assert told == minutes.column(name).to_pylist()
    assert len(changes["ts"]) < len(ts) / 2


def test_neighbours_walk_through_exactly_the_triangles_with_the_flags(
    connection: Connection,
) -> None:
    rows = triangles(NQ, SPAN).table(connection).whole().to_pylist()
    for wanted, name in ((0, None), (chart.ENGULFING, "engulfing"), (chart.ALIGNED, "aligned")):
        expected = [
            int(row["ts"].timestamp())
            for row in rows
            if name is None
            or row.get(name)
            or (name == "aligned" and row[f"htf_{row['bias_1m'].lower()}"])
        ]
        walked, ts_ns = [], SPAN.start_ns - 1
        while found := chart.neighbour(connection, NQ, ts_ns, wanted, forward=True)["ts"]:
            ts_ns = found[0] * 10**9
            if ts_ns >= SPAN.end_ns:
                break
            walked.append(found[0])
        assert walked == expected
        assert walked or wanted == chart.ALIGNED
        if not walked:
            continue
        back = chart.neighbour(connection, NQ, walked[-1] * 10**9, wanted, forward=False)
        assert back["ts"] == walked[-2:-1]


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_live_gaps_are_those_the_explanation_counts(
    holiday_market: StoredMarket, timeframe: str
) -> None:
    ts_ns = utc_ns("2024-11-29 15:59")
    with holiday_market.database.connect("test", autocommit=True) as connection:
        market = registry.market(connection, NQ)
        view = explained(connection, market, ts_ns)["timeframes"][timeframe]
        gaps = chart.gaps_alive(connection, market, ts_ns, timeframe)

    assert gaps["alive"] == view["gaps_alive"]
    for side in ("gap_above", "gap_below"):
        if view[side] is not None:
            assert (float(view[side]["bottom"]), float(view[side]["top"])) in zip(
                gaps["bottom"], gaps["top"], strict=True
            )


def test_gaps_of_a_minute_without_a_bar_are_refused(connection: Connection) -> None:
    with pytest.raises(RangeError, match="2024-11-30"):
        chart.gaps_alive(
            connection, registry.market(connection, NQ), utc_ns("2024-11-30 12:00"), "1m"
        )
