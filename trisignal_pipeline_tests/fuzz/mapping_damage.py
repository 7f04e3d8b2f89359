"""Headers in perfect order whose symbol mapping makes no sense, or two senses."""

from __future__ import annotations

import random
from datetime import date, timedelta

from trisignal_pipeline_tests.fuzz.container_damage import packed
from trisignal_pipeline_tests.fuzz.specimens import (
    END,
    FIRST,
    SECOND,
    VERSIONS,
    Specimen,
    bars,
    whole_header,
)
from trisignal_pipeline_tests.sources.dbn_encoder import Intervals

_DATES = (
    date(1, 1, 1),
    date(1677, 9, 21),
    date(1970, 1, 1),
    FIRST - timedelta(days=1),
    FIRST,
    FIRST,
    SECOND,
    END,
    END,
    date(2262, 4, 12),
    date(9999, 12, 31),
)
_NAMES = ("NQM4", "NQU4", "NQM4", "ESU4", "NQM4-NQU4", "NQM24", "", " ", "nqm4", "NQ.v.0", "NQM4\n")
_IDS = ("1", "1", "2", "01", "", " 1", "-1", "+1", "0x1", "1.0", "1_0", "4294967297", "9" * 20)


def intervals(rng: random.Random, _: Specimen) -> bytes:
    """Intervals that overlap, leave gaps, run backwards, or lie in another age."""
    mapping: dict[str, Intervals] = {
        rng.choice(_NAMES): [
            (rng.choice(_DATES), rng.choice(_DATES), rng.choice(_IDS[:3]))
            for _ in range(rng.randint(0, 4))
        ]
        for _ in range(rng.randint(1, 3))
    }
    return _file(rng, mapping)


def two_names(rng: random.Random, _: Specimen) -> bytes:
    """One instrument with two names, at once or one after the other; one name for two."""
    middle = rng.choice((FIRST, SECOND, END))
    first, second = rng.choice((("NQM4", "NQU4"), ("NQM4", "NQM4-NQU4"), ("ESM4", "NQM4")))
    mapping: dict[str, Intervals] = {
        first: [(FIRST, middle, "1"), (FIRST, END, "2")],
        second: [(rng.choice((FIRST, SECOND)), END, rng.choice("12"))],
    }
    return _file(rng, mapping)


def ids(rng: random.Random, _: Specimen) -> bytes:
    """Instrument ids that are no numbers, or written in other ways."""
    mapping: dict[str, Intervals] = {
        name: [(FIRST, END, rng.choice(_IDS))] for name in rng.sample(("NQM4", "NQU4", "ESM4"), 2)
    }
    return _file(rng, mapping)


def many(rng: random.Random, _: Specimen) -> bytes:
    """Thousands of names, or thousands of intervals of one."""
    count = rng.choice((100, 3000))
    if rng.random() < 0.5:
        mapping: dict[str, Intervals] = {
            f"X{number}": [(FIRST, END, str(number))] for number in range(1, count)
        }
        mapping |= {"NQM4": [(FIRST, END, "1")]} if rng.random() < 0.5 else {}
        return _file(rng, mapping)
    step = timedelta(days=1)
    start = FIRST - count // 2 * step
    days = [(start + n * step, start + (n + 1) * step, "1") for n in range(count)]
    return _file(rng, {"NQM4": rng.sample(days, count)})


def _file(rng: random.Random, mapping: dict[str, Intervals]) -> bytes:
    header = whole_header(
        mapping=mapping,
        version=rng.choice(VERSIONS),
        stype_in=rng.choice(("raw_symbol", "raw_symbol", "parent", "continuous")),
    )
    numbers = rng.choice(((1,), (1,), (1, 2)))
    return packed(rng, header + bytes(bars(rng.randrange(9), numbers, count=20)))
