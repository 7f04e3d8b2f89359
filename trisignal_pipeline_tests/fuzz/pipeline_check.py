"""Files through the whole product into a real database, held against the plain reading of them.

They lie in the raw folder beside one that is whole. Whatever they are, that one must load, what
none of them covers must stay as it was, and every bar of them must be found again.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

from trisignal_pipeline.market.dates import (
    NS_PER_DAY,
    NS_PER_MINUTE,
    DateRange,
    day_number,
    from_day_number,
)
from trisignal_pipeline.market.lead_contract import Traded, lead_contracts
from trisignal_pipeline_tests.fuzz import plain_file
from trisignal_pipeline_tests.fuzz.file_check import (
    FLOOR,
    read_plainly,
    require,
    require_plain_words,
)
from trisignal_pipeline_tests.fuzz.plain_file import PlainFile, Row
from trisignal_pipeline_tests.fuzz.specimens import FIRST, one_day
from trisignal_pipeline_tests.pipeline import CLEAN, LEGACY, RAW, Pipeline

DATASET = "GLBX.MDP3"
_FIRST_PARTITION = date(2010, 6, 6)
_DATES_BEFORE_THE_WHOLE_FILE = 3
_HOUR_NS = 3600 * 10**9

Tables = dict[str, dict[date, list[Row]]]


def check_pipeline(pipeline: Pipeline, name: str, contents: Sequence[bytes]) -> None:
    """Load files of `contents`, later ones overruling earlier ones, from a raw folder `name`.

    Raises:
        Disagreement: a table holds something else than it must, or the catalogue says so.
    """
    plain = [read_plainly(content) for content in contents]
    case = _Case.of([one for one in plain if isinstance(one, PlainFile)])
    raw = pipeline.raw / name
    pipeline = replace(pipeline, settings=replace(pipeline.settings, raw_dir=raw))
    raw.mkdir(parents=True)
    # Where the product looks for it; this process runs nothing else.
    os.environ["TRISIGNAL_RAW_DIR"] = str(raw)
    names = [f"{number}.dbn.zst" for number in range(len(contents))]
    for file, content in zip((*names, "whole.dbn.zst"), (*contents, case.whole), strict=True):
        (raw / file).write_bytes(content)
        # Old enough for nobody to be writing to it still.
        written = (raw / file).stat().st_mtime_ns - _HOUR_NS
        os.utime(raw / file, ns=(written, written))

    before = _tables(pipeline, case)
    pipeline.materialize(case.first, case.last, [RAW, LEGACY, CLEAN], case.symbol)
    verdicts = {
        Path(path).name: (verdict, reason)
        for path, verdict, reason in pipeline.query(
            "SELECT path, verdict, reason FROM raw_files WHERE starts_with(path, %s)", f"{raw}/"
        )
    }
    for file, one in zip(names, plain, strict=True):
        verdict, reason = verdicts[file]
        require("verdict", verdict, "refused" if isinstance(one, str) else "verified")
        if reason is not None:
            require_plain_words(reason)
    expected = case.expected()
    require(
        "tables",
        _tables(pipeline, case),
        {
            layer: {day: rows for day, rows in {**before[layer], **written}.items() if rows}
            for layer, written in expected.items()
        },
    )
    _require_nothing_lost(pipeline, case, expected)


@dataclass(frozen=True, slots=True)
class _Case:
    """What the usable files say, the root they are loaded as, and the dates.

    The last date is that of a whole file of its own, after the others by name.
    """

    files: list[PlainFile]
    root: str
    first: date
    last: date
    whole: bytes

    @classmethod
    def of(cls, files: list[PlainFile]) -> _Case:
        days: defaultdict[str, list[date]] = defaultdict(list)
        for day, contract in (held for file in files for held in file.bars):
            if _FIRST_PARTITION <= day < datetime.now(UTC).date() - timedelta(days=60):
                days[contract.root].append(day)
        root = "ES" if "ES" in days and "NQ" not in days else "NQ"
        first = min(days[root], default=FIRST)
        last = first + timedelta(days=_DATES_BEFORE_THE_WHOLE_FILE)
        while last in days[root]:
            last += timedelta(days=1)
        return cls(files, root, first, last, one_day(last, root))

    @property
    def symbol(self) -> str:
        return f"{DATASET}:{self.root}"

    def delivered(self) -> dict[date, list[Row]]:
        """The lead contract's bars of each date that is written, in the order of the files."""
        files = [*self.files, plain_file.read(self.whole)]
        traded = [
            Traded(
                day,
                contract.name,
                sum(row.volume for row in rows),
                min(row.ts for row in rows),
                max(row.ts for row in rows),
                contract.continuous,
            )
            for file in files
            for (day, contract), rows in file.bars.items()
            if contract.root == self.root and file.dataset == DATASET
        ]
        leads = lead_contracts(traded, "v")
        undecided = {one.date for one in traded} - set(leads)
        covered = {
            day: [file for file in files if self._covers(file, day)]
            for day in DateRange(self.first, self.last)
            if day not in undecided
        }
        return {
            day: [
                row
                for file in serving
                for (on, contract), rows in file.bars.items()
                if (on, contract.root, contract.name) == (day, self.root, leads.get(day))
                for row in rows
            ]
            for day, serving in covered.items()
            if serving
        }

    def expected(self) -> Tables:
        """What each table must hold of the dates that are written."""
        legacy = {day: plain_file.legacy(rows).accepted for day, rows in self.delivered().items()}
        clean = {day: plain_file.clean(rows, FLOOR).accepted for day, rows in legacy.items()}
        return {LEGACY: legacy, CLEAN: clean}

    def _covers(self, file: PlainFile, day: date) -> bool:
        if file.dataset != DATASET or self.root not in file.roots:
            return False
        if file.stype_in == "continuous" and f"{self.root}.v.0" not in file.symbols:
            return False
        last = max((row.ts for rows in file.bars.values() for row in rows), default=file.start)
        end = file.end if file.end is not None else last + 1
        first, after = file.start // NS_PER_DAY, -(-end // NS_PER_DAY)
        return first <= day_number(day) < after


def _require_nothing_lost(pipeline: Pipeline, case: _Case, expected: Tables) -> None:
    """Raise `Disagreement` unless every bar that was delivered stands, or is kept elsewhere."""
    delivered = {LEGACY: case.delivered(), CLEAN: expected[LEGACY]}
    for layer, name in ((LEGACY, "legacy"), (CLEAN, "clean")):
        quarantined = {
            (Row(*values), frozenset(rules))
            for *values, rules in pipeline.query(
                "SELECT (extract(epoch FROM ts) * 1000000000)::bigint, open, high, low, close, "
                "volume, rules FROM quarantined_bars "
                "WHERE symbol = %s AND layer = %s AND released_at IS NULL",
                case.symbol,
                name,
            )
        }
        kept = {row for row, _ in quarantined} | {
            Row(ts - NS_PER_MINUTE, *values)
            for ts, *values in pipeline.query(
                "SELECT (extract(epoch FROM ts) * 1000000000)::bigint, "
                "(open * 1000000000)::bigint, (high * 1000000000)::bigint, "
                "(low * 1000000000)::bigint, (close * 1000000000)::bigint, volume "
                "FROM market_bars_revisions "
                "WHERE symbol = %s AND layer = %s AND kind = 'superseded'",
                case.symbol,
                name,
            )
        }
        for day, rows in delivered[layer].items():
            require("bars lost", set(rows) - set(expected[layer][day]) - kept, set())
            tell = plain_file.legacy if layer == LEGACY else partial(plain_file.clean, floor=FLOOR)
            broken = {one for one in tell(rows).rejected if "DUPLICATE_MINUTE" not in one[1]}
            require("bars not in quarantine", broken - quarantined, set())


def _tables(pipeline: Pipeline, case: _Case) -> Tables:
    """The bars of the case's dates by table and date, in order of time, stamped by the OPEN."""
    found: Tables = {}
    for layer, table, stamp in (
        (LEGACY, "market_bars_ohlcv_1m", NS_PER_MINUTE),
        (CLEAN, "market_bars_ohlcv_1m_clean", 0),
    ):
        by_date: defaultdict[date, list[Row]] = defaultdict(list)
        for ts, *rest in pipeline.query(
            "SELECT (extract(epoch FROM ts) * 1000000000)::bigint, (open * 1000000000)::bigint, "
            "(high * 1000000000)::bigint, (low * 1000000000)::bigint, "
            f"(close * 1000000000)::bigint, volume FROM {table} WHERE symbol = %s ORDER BY ts",
            case.symbol,
        ):
            day = from_day_number((ts - stamp) // NS_PER_DAY)
            if case.first <= day <= case.last:
                by_date[day].append(Row(ts - stamp, *rest))
        found[layer] = dict(by_date)
    return found
