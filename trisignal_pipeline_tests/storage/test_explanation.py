"""Explaining a stored minute: the same as the replay, and beside what is stored of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, timedelta

import psycopg
import pytest

from trisignal_pipeline.errors import RangeError
from trisignal_pipeline.market.bars import PRICE_UNIT
from trisignal_pipeline.market.dates import NS_PER_DAY, DateRange, iso_minute
from trisignal_pipeline.market.symbols import Anchor, Market
from trisignal_pipeline.signal.replay import advance, start
from trisignal_pipeline.signal.triangles import triangles
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.audit import IngestFile
from trisignal_pipeline.storage.bar_dates import mark_writing
from trisignal_pipeline.storage.bars import CLEAN, LEGACY
from trisignal_pipeline.storage.connection import Connection, Database
from trisignal_pipeline.storage.explanation import (
    Explanation,
    explain_minute,
    explanation_lines,
)
from trisignal_pipeline.storage.signal_computation import compute_signals
from trisignal_pipeline_tests.storage.stored_bars import (
    DAY,
    NQ,
    Bar,
    bar,
    columns,
    days_from,
    delivered,
    moment,
    store,
    store_delivery,
    walk,
)

NEXT = DAY + timedelta(days=1)
GOOD = 20_000 * PRICE_UNIT


@pytest.fixture
def market(connection: Connection) -> Market:
    return registry.market(connection, NQ)


def compute(connection: Connection, market: Market, dates: DateRange) -> None:
    """What a materialisation of the signals does."""
    assert all(part.replayed for part in compute_signals(connection, market, dates))


def explain_each(
    connection: Connection, market: Market, minutes: Iterable[int]
) -> list[Explanation]:
    return [explain_minute(connection, market, ts) for ts in minutes]


def refusal(connection: Connection, market: Market, ts_ns: int) -> str:
    with pytest.raises(RangeError) as refused:
        explain_minute(connection, market, ts_ns)
    assert str(refused.value).startswith(f"{NQ} {iso_minute(ts_ns)}: ")
    return str(refused.value)


class TestAStoredHistory:
    """Three dates, the second of them with legacy bars only."""

    DATES = days_from(DAY, 3)

    @pytest.fixture
    def history(self, database: Database) -> list[Bar]:
        made = walk(self.DATES, seed=5, share=0.05)
        store(database, made, self.DATES)
        for day in (DAY, DAY + timedelta(days=2)):
            dates = days_from(day, 1)
            of_day = [row for row in made if dates.start_ns <= row.ts < dates.end_ns]
            store(database, of_day, dates, table=CLEAN)
        return made

    def some(self, history: Sequence[Bar]) -> list[int]:
        return [history[row].ts for row in (0, 1, 40, 71, 72, 73, 120, 150, -1)]

    def test_minutes_are_explained_as_one_pass_has_them(
        self, connection: Connection, market: Market, history: list[Bar]
    ) -> None:
        bars = columns(history)
        series = advance(start(market.anchor, market.session_profile), bars)[1]
        found = triangles(bars, series, market.filters, None)
        direction = dict(zip(found.ts.tolist(), found.direction.tolist(), strict=True))
        for row in range(0, len(history), 7):
            minute = explain_minute(connection, market, history[row].ts).minute
            assert minute.biases == tuple(series.bias[row].tolist())
            assert minute.triangle == direction.get(history[row].ts, 0)
            assert (minute.bar.close, minute.contract) == (history[row].close, "NQM4")

    def test_each_date_names_the_table_it_is_read_from(
        self, connection: Connection, market: Market, history: list[Bar]
    ) -> None:
        last_of = {row.ts // NS_PER_DAY: row.ts for row in history}
        explained = explain_each(connection, market, last_of.values())
        assert [one.table for one in explained] == [CLEAN.name, LEGACY.name, CLEAN.name]

    def test_a_saved_state_changes_nothing(
        self, connection: Connection, market: Market, history: list[Bar]
    ) -> None:
        before = explain_each(connection, market, self.some(history))
        compute(connection, market, self.DATES)
        after = explain_each(connection, market, self.some(history))
        assert [one.minute for one in after] == [one.minute for one in before]

    def test_no_history_is_read_before_the_nearest_saved_state(
        self, connection: Connection, market: Market, history: list[Bar]
    ) -> None:
        compute(connection, market, self.DATES)
        before = explain_minute(connection, market, history[-1].ts)
        # The bars are gone and nobody was told.
        connection.execute(f"DELETE FROM {CLEAN.name} WHERE ts < %s", (self.DATES.end,))
        assert explain_minute(connection, market, history[-1].ts) == before

    def test_a_minute_whose_signal_is_not_computed_is_explained_all_the_same(
        self, connection: Connection, market: Market, history: list[Bar]
    ) -> None:
        explained = explain_minute(connection, market, history[50].ts)
        assert not explained.stored.computed
        assert "nothing to compare with" in explanation_lines(explained)[-1]

    def test_stored_signals_agree_with_the_explanation(
        self, connection: Connection, market: Market, history: list[Bar]
    ) -> None:
        compute(connection, market, self.DATES)
        for explained in explain_each(connection, market, self.some(history)):
            assert explained.stored.computed
            assert explained.stored.differences == ()
            assert not explained.stored.in_doubt
        assert explanation_lines(explained)[-1].endswith("say the same")

    def test_a_bias_that_differs_is_told(
        self, connection: Connection, market: Market, history: list[Bar]
    ) -> None:
        compute(connection, market, self.DATES)
        connection.execute("UPDATE bias_series_1m_v1 SET bias_4h = 'Bearish'")
        [explained] = explain_each(connection, market, [history[0].ts])
        assert explained.stored.differences == (
            "bias_series_1m_v1 has bias_4h Bearish, computed is Neutral",
        )
        assert explained.stored.differences[0] in "\n".join(explanation_lines(explained))

    def test_a_triangle_that_is_missing_or_one_too_many_is_told(
        self, connection: Connection, market: Market, history: list[Bar]
    ) -> None:
        compute(connection, market, self.DATES)
        [(ts_ns, direction)] = connection.execute(
            "SELECT (extract(epoch FROM ts) * 1000000000)::bigint, direction "
            "FROM triangle_events_v1 ORDER BY ts LIMIT 1"
        ).fetchall()
        connection.execute("UPDATE triangle_events_v1 SET ts = ts + interval '1 week'")
        [explained] = explain_each(connection, market, [ts_ns])
        assert explained.stored.differences == (
            f"triangle_events_v1 has as triangle none, computed is {direction}",
        )
        connection.execute(
            "UPDATE triangle_events_v1 SET ts = to_timestamp(%s) WHERE ts = "
            "(SELECT min(ts) FROM triangle_events_v1)",
            (history[0].ts // 1_000_000_000,),
        )
        [explained] = explain_each(connection, market, [history[0].ts])
        assert explained.stored.differences == (
            f"triangle_events_v1 has as triangle {direction}, computed is none",
        )

    def test_a_flag_of_a_triangle_that_differs_is_told(
        self, connection: Connection, market: Market, history: list[Bar]
    ) -> None:
        compute(connection, market, self.DATES)
        [(ts_ns,)] = connection.execute(
            "UPDATE triangle_events_v1 SET htf_aligned_only = true, contract = 'NQZ9' "
            "WHERE id = (SELECT min(id) FROM triangle_events_v1) "
            "RETURNING (extract(epoch FROM ts) * 1000000000)::bigint"
        ).fetchall()
        [explained] = explain_each(connection, market, [ts_ns])
        assert explained.stored.differences == (
            "triangle_events_v1 has htf_aligned_only True, computed is False",
            "triangle_events_v1 has contract NQZ9, computed is NQM4",
        )

    def test_a_signal_that_is_in_doubt_is_called_so(
        self, database: Database, connection: Connection, market: Market, history: list[Bar]
    ) -> None:
        compute(connection, market, self.DATES)
        first = days_from(DAY, 1)
        of_day = [row for row in history if row.ts < first.end_ns]
        store(database, of_day[:-1], first, table=CLEAN)
        explained = explain_minute(connection, market, history[-1].ts)
        assert explained.stored.in_doubt
        assert "in doubt" in explanation_lines(explained)[-1]

    def test_explaining_writes_nothing_and_leaves_the_connection_usable(
        self, connection: Connection, market: Market, history: list[Bar]
    ) -> None:
        explain_minute(connection, market, history[3].ts)
        refusal(connection, market, history[3].ts + NS_PER_DAY * 400)
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        assert connection.execute("SELECT count(*) FROM signal_checkpoints").fetchone() == (0,)

    def test_sessions_that_were_never_verified_are_pointed_out(
        self, database: Database, connection: Connection, market: Market
    ) -> None:
        early = days_from(date(2012, 3, 5), 1)
        made = walk(early, seed=1)
        store(database, made, early)
        explained = explain_minute(connection, market, made[5].ts)
        assert explained.calendar_warning is not None
        assert "hours are verified from 2014-05-01" in explanation_lines(explained)[-1]
        utc = replace(market, anchor=Anchor.UTC)
        assert explain_minute(connection, utc, made[5].ts).calendar_warning is None


class TestMinutesWithoutABar:
    def test_a_symbol_without_bars_is_told_how_to_get_some(
        self, connection: Connection, market: Market
    ) -> None:
        assert f"trisignal backfill {NQ}" in refusal(connection, market, bar(10).ts)

    def test_the_nearest_bars_are_named(
        self, database: Database, connection: Connection, market: Market
    ) -> None:
        dates = days_from(DAY, 4)
        rows = [bar(1438), bar(3, day=NEXT), bar(9, day=NEXT), bar(7, day=dates.end)]
        store(database, rows, dates)
        asked = {
            bar(5, day=NEXT).ts: (rows[1], rows[2]),
            bar(1, day=NEXT).ts: (rows[0], rows[1]),
            bar(8, day=NEXT + timedelta(days=1)).ts: (rows[2], rows[3]),
        }
        for ts_ns, (before, after) in asked.items():
            assert refusal(connection, market, ts_ns).endswith(
                "no bar opens there (a bar is asked for by its OPEN); the nearest stored bars open "
                f"at {iso_minute(before.ts)} and {iso_minute(after.ts)}"
            )

    @pytest.mark.parametrize(("days_away", "minute"), [(-3, 10), (3, 20)])
    def test_a_date_beyond_the_stored_ones_has_one_neighbour(
        self,
        database: Database,
        connection: Connection,
        market: Market,
        days_away: int,
        minute: int,
    ) -> None:
        store(database, [bar(10), bar(20)], days_from(DAY, 1))
        told = refusal(connection, market, bar(15, day=DAY + timedelta(days=days_away)).ts)
        assert "can be read (none are stored)" in told
        assert told.endswith(f"the nearest stored bar opens at {iso_minute(bar(minute).ts)}")

    def test_bars_before_the_start_of_the_history_are_not_read(
        self, database: Database, connection: Connection
    ) -> None:
        store(database, [bar(10), bar(20, day=NEXT)], days_from(DAY, 2))
        registry.set_symbol(connection, NQ, {"history_start": NEXT})
        told = refusal(connection, registry.market(connection, NQ), bar(10).ts)
        assert "lie before the symbol's history start" in told

    def test_bars_that_were_being_written_are_not_read(
        self, database: Database, connection: Connection, market: Market
    ) -> None:
        store(database, [bar(10), bar(20, day=NEXT)], days_from(DAY, 2))
        mark_writing(connection, NQ, LEGACY.layer, [DAY], moment(0))
        told = refusal(connection, market, bar(10).ts)
        assert "writing them did not come to its end" in told

    def test_dates_on_which_nothing_traded_have_no_neighbours(
        self, database: Database, connection: Connection, market: Market
    ) -> None:
        store(database, [], days_from(DAY, 1))
        assert refusal(connection, market, bar(1).ts).endswith("is without bars")


class TestRejectedBars:
    def test_a_locked_out_bar_names_its_rule_and_the_last_good_close(
        self, database: Database, connection: Connection, market: Market
    ) -> None:
        jump = GOOD + 600 * PRICE_UNIT
        rows = [bar(1), bar(2, jump), bar(3, jump + PRICE_UNIT), bar(4)]
        store(database, rows, days_from(DAY, 1))
        assert (
            f"its bar (open 20600.00 high 20600.25 low 20599.75 close 20600.00) in {LEGACY.name} "
            "was kept from the signal by DISCONTINUITY_500, SMALL_RANGE_BIG_GAP_150, held against "
            "the last good close 20000.00 of NQM4; rejected bar 1 in a row since "
            f"{iso_minute(rows[1].ts)}"
        ) in refusal(connection, market, rows[1].ts)
        second = refusal(connection, market, rows[2].ts)
        assert f"rejected bar 2 in a row since {iso_minute(rows[1].ts)}" in second

    def test_a_lock_out_is_counted_from_the_day_before(
        self, database: Database, connection: Connection, market: Market
    ) -> None:
        jump = GOOD + 600 * PRICE_UNIT
        rows = [bar(1438), bar(1439, jump), bar(0, jump, NEXT), bar(1, day=NEXT)]
        store(database, rows, days_from(DAY, 2))
        told = refusal(connection, market, rows[2].ts)
        assert "last good close 20000.00 of NQM4; rejected bar 2 in a row" in told
        assert f"since {iso_minute(rows[1].ts)};" in told

    def test_the_bar_after_a_rejected_one_is_compared_with_the_one_before_it(
        self, database: Database, connection: Connection, market: Market
    ) -> None:
        rows = [bar(1), bar(2, GOOD + 600 * PRICE_UNIT), bar(3)]
        store(database, rows, days_from(DAY, 1))
        previous = explain_minute(connection, market, rows[2].ts).minute.previous
        assert previous is not None
        assert previous.ts == rows[0].ts

    def test_a_bar_that_is_not_clean_names_the_rule_that_kept_it_out(
        self, database: Database, connection: Connection, market: Market
    ) -> None:
        rows = [bar(1), bar(2, 900 * PRICE_UNIT), bar(3)]
        store(database, rows, days_from(DAY, 1))
        store(database, [rows[0], rows[2]], days_from(DAY, 1), table=CLEAN)
        told = refusal(connection, market, rows[1].ts)
        assert f"was rejected on the way to {CLEAN.name} by PRICE_LT_1000;" in told

    def test_a_clean_table_that_lags_behind_is_told_apart_from_a_rejection(
        self, database: Database, connection: Connection, market: Market
    ) -> None:
        rows = [bar(1), bar(2), bar(3)]
        store(database, rows, days_from(DAY, 1))
        store(database, [rows[0], rows[2]], days_from(DAY, 1), table=CLEAN)
        assert "materialise clean_bars again" in refusal(connection, market, rows[1].ts)

    def test_a_bar_that_never_was_stored_names_its_file_and_what_it_broke(
        self, database: Database, connection: Connection, market: Market
    ) -> None:
        rows = [bar(1), bar(2, high=1), bar(3)]
        files = [IngestFile("june.dbn.zst", "0" * 64)]
        store_delivery(database, delivered(rows), days_from(DAY, 1), files=files)
        assert (
            "its bar in june.dbn.zst was rejected by OHLC_INTEGRITY (see: trisignal quarantine "
            f"{NQ} --start {DAY} --end {DAY})"
        ) in refusal(connection, market, rows[1].ts)
