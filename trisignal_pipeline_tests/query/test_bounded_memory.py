"""A year of minutes is read in no more memory than a month of them."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date

import psycopg

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.query.stored_market import generated, store_clean

YEAR = DateRange(date(2023, 1, 1), date(2023, 12, 31))
MEGABYTE = 2**20

# Of a process of its own, since memory that others used before counts as well.
PROGRAM = """
import json, sys
from datetime import date
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.query.bar_series import bar_series
from trisignal_pipeline.query.dataset import dataset
from trisignal_pipeline.query.forms import WRITERS
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Database

NQ = "GLBX.MDP3:NQ"
MONTH = DateRange(date(2023, 1, 1), date(2023, 1, 31))
YEAR = DateRange(date(2023, 1, 1), date(2023, 12, 31))

def peak():
    # What getrusage says begins at the size of the process that started this one.
    with open("/proc/self/status") as status:
        return int(status.read().split("VmHWM:")[1].split()[0]) * 1024

with Database(sys.argv[1]).answering(60).connect("memory", one_instant=True) as connection:
    market = registry.market(connection, NQ)
    def write(dates):
        for form, series in (
            ("parquet", dataset(NQ, dates)), ("csv", bar_series(market, "1m", dates))
        ):
            with open("/dev/null", "wb") as nowhere:
                WRITERS[form](series.table(connection), nowhere)
    write(MONTH)
    before = peak()
    write(YEAR)
    streamed = peak()
    kept = [dataset(NQ, YEAR).table(connection).whole() for _ in range(6)]
    print(json.dumps([kept[0].num_rows, streamed - before, peak() - streamed]))
"""


def test_a_year_is_written_in_the_memory_of_a_month(database: Database) -> None:
    bars = generated(YEAR)
    store_clean(database, bars, YEAR)
    with psycopg.connect(database.url) as connection:
        connection.execute(
            "SELECT ensure_time_partitions('bias_series_1m_v1', '2023-01-01', '2023-12-31')"
        )
        connection.execute(
            "INSERT INTO bias_series_1m_v1 (symbol, ts, bias_1m, bias_5m, bias_15m, bias_1h, "
            "bias_4h, bias_1d, source_table, logic_version) SELECT symbol, ts, 'Bullish', "
            "'Bearish', 'Neutral', 'Neutral', 'Neutral', 'Neutral', 't', '1' "
            "FROM market_bars_ohlcv_1m_clean"
        )

    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM, database.url], capture_output=True, text=True, check=True
    )

    rows, streamed, whole = json.loads(answer.stdout)
    assert rows == len(bars) > 300_000
    assert streamed < 15 * MEGABYTE
    assert whole > 15 * MEGABYTE
