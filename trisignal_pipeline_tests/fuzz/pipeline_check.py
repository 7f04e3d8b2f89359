"""One file's bytes through the whole product into a real database, held against the plain reading.

The file lies in the raw folder beside one that is whole. Whatever it is, the other one must load,
and what neither of them covers must stay as it was.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

from trisignal_pipeline.market.dates import NS_PER_DAY, NS_PER_MINUTE, from_day_number
from trisignal_pipeline.market.lead_contract import Traded, lead_contracts
from trisignal_pipeline_tests.fuzz import plain_file
from trisignal_pipeline_tests.fuzz.file_check import (
    FLOOR,
    read_plainly,
    require,
    require_plain_words,
)
from trisignal_pipeline_tests.fuzz.plain_file import Contract, PlainFile, Row
from trisignal_pipeline_tests.fuzz.specimens import FIRST, one_day
from trisignal_pipeline_tests.pipeline import CLEAN, LEGACY, RAW, Pipeline

DATASET = "GLBX.MDP3"
_FIRST_PARTITION = date(2010, 6, 6)
_DATES_BEFORE_THE_WHOLE_FILE = 3
_HOUR_NS = 3600 * 10**9

Bars = Mapping[tuple[date, Contract], list[Row]]
Tables = dict[str, dict[date, list[Row]]]


def check_pipeline(pipeline: Pipeline, name: str, content: bytes) -> None:
    """Load a file of `content`, from a raw folder `name` that nothing else was ever in.

    Raises:
        Disagreement: a table holds something else than it must, or the catalogue says so.
    """
    plain = read_plainly(content)
    case = _Case.of(plain)
    pipeline = replace(pipeline, settings=replace(pipeline.settings, raw_dir=pipeline.raw / name))
    pipeline.raw.mkdir(parents=True)
    # Where the product looks for it; this process runs nothing else.
    os.environ["TRISIGNAL_RAW_DIR"] = str(pipeline.raw)
    for file, made in (("case.dbn.zst", content), ("whole.dbn.zst", case.whole)):
        path = pipeline.raw / file
        path.write_bytes(made)
        # Old enough for nobody to be writing to it still.
        written = path.stat().st_mtime_ns - _HOUR_NS
        os.utime(path, ns=(written, written))

    before = _tables(pipeline, case)
    pipeline.materialize(case.first, case.last, [RAW, LEGACY, CLEAN], f"{DATASET}:{case.root}")
    [(verdict, reason)] = pipeline.query(
        "SELECT verdict, reason FROM raw_files WHERE path = %s", str(pipeline.raw / "case.dbn.zst")
    )
    require("verdict", verdict, "refused" if isinstance(plain, str) else "verified")
    if reason is not None:
        require_plain_words(reason)
    require("tables", _tables(pipeline, case), case.expected(before))


@dataclass(frozen=True, slots=True)
class _Case:
    """What the file says, the root it is loaded as, and the dates: the last is the whole file's."""

    plain: PlainFile | None
    root: str
    first: date
    last: date
    whole: bytes

    @classmethod
    def of(cls, plain: PlainFile | str) -> _Case:
        bars: Bars = {} if isinstance(plain, str) else plain.bars
        days: defaultdict[str, list[date]] = defaultdict(list)
        for day, contract in bars:
            if _FIRST_PARTITION <= day < datetime.now(UTC).date() - timedelta(days=60):
                days[contract.root].append(day)
        root = "ES" if "ES" in days and "NQ" not in days else "NQ"
        first = min(days[root], default=FIRST)
        last = first + timedelta(days=_DATES_BEFORE_THE_WHOLE_FILE)
        while last in days[root]:
            last += timedelta(days=1)
        return cls(
            None if isinstance(plain, str) else plain, root, first, last, one_day(last, root)
        )

    def expected(self, before: Tables) -> Tables:
        """What the tables must hold, if `before` is what they held."""
        whole = plain_file.read(self.whole)
        bars = {**({} if self.plain is None else self.plain.bars), **whole.bars}
        leads = lead_contracts(
            [
                Traded(
                    day,
                    contract.name,
                    sum(row.volume for row in rows),
                    min(row.ts for row in rows),
                    max(row.ts for row in rows),
                    contract.continuous,
                )
                for (day, contract), rows in bars.items()
                if contract.root == self.root
            ],
            "v",
        )
        traded = {day for day, contract in bars if contract.root == self.root}
        expected: Tables = {layer: dict(held) for layer, held in before.items()}
        day = self.first
        while day <= self.last:
            if (day == self.last or self._covers(day)) and (day in leads or day not in traded):
                rows = [
                    row
                    for (on, contract), held in bars.items()
                    if on == day and contract.root == self.root and contract.name == leads.get(day)
                    for row in held
                ]
                legacy = plain_file.legacy(rows)
                clean = plain_file.clean(legacy.accepted, FLOOR)
                expected[LEGACY][day], expected[CLEAN][day] = legacy.accepted, clean.accepted
            day += timedelta(days=1)
        return {
            layer: {day: rows for day, rows in held.items() if rows}
            for layer, held in expected.items()
        }

    def _covers(self, day: date) -> bool:
        plain = self.plain
        if plain is None or plain.dataset != DATASET or self.root not in plain.roots:
            return False
        if plain.stype_in == "continuous" and f"{self.root}.v.0" not in plain.symbols:
            return False
        last = [row.ts for rows in plain.bars.values() for row in rows]
        end = plain.end if plain.end is not None else max(last, default=plain.start) + 1
        return (
            from_day_number(plain.start // NS_PER_DAY)
            <= day
            <= from_day_number((end - 1) // NS_PER_DAY)
        )


def _tables(pipeline: Pipeline, case: _Case) -> Tables:
    """The bars of the case's dates by table and date, in order of time, stamped by the OPEN."""
    found: Tables = {}
    for layer, table, stamp in (
        (LEGACY, "market_bars_ohlcv_1m", NS_PER_MINUTE),
        (CLEAN, "market_bars_ohlcv_1m_clean", 0),
    ):
        by_date: defaultdict[date, list[Row]] = defaultdict(list)
        for ts, *rest in pipeline.query(
            "SELECT (extract(epoch FROM ts) * 1000000000)::bigint, (open * 1000000000)::bigint, "  # type: ignore[arg-type]
            "(high * 1000000000)::bigint, (low * 1000000000)::bigint, "
            f"(close * 1000000000)::bigint, volume FROM {table} WHERE symbol = %s ORDER BY ts",
            f"{DATASET}:{case.root}",
        ):
            day = from_day_number((ts - stamp) // NS_PER_DAY)
            if case.first <= day <= case.last:
                by_date[day].append(Row(ts - stamp, *rest))
        found[layer] = dict(by_date)
    return found
