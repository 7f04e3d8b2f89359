"""Records that are out of order, there twice, spliced, or hold values no bar has."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from trisignal_pipeline_tests.fuzz.container_damage import flip, packed
from trisignal_pipeline_tests.fuzz.specimens import Specimen, generated

SIZE = 56
_PRICES = (16, 24, 32, 40)
_ODD_PRICES = (0, -1, 1, -250_000_000, 999 * 10**9, 2**63 - 1, 2**63 - 2, -(2**63), 10**18)
_ODD_VOLUMES = (0, 1, 10**12, 10**12 + 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1)
_ODD_IDS = (0, 1, 2, 3, 6, 8, 2**31, 2**32 - 1)
_MINUTE = 60 * 10**9


def flipped_bits(rng: random.Random, specimen: Specimen) -> bytes:
    """A few bits anywhere in the records."""
    return packed(rng, specimen.header + flip(rng, specimen.records, rng.randint(1, 4)))


def order(rng: random.Random, specimen: Specimen) -> bytes:
    """The records in another order, some left out, some there twice."""
    rows = _rows(specimen)
    manner = rng.randrange(4)
    if manner == 0:
        rng.shuffle(rows)
    elif manner == 1:
        rows = rows[::-1]
    elif manner == 2:
        rows = rng.choices(rows, k=len(rows)) if rows else rows
    else:
        rows = rng.sample(rows, rng.randint(0, len(rows)))
    return _file(rng, specimen, rows)


def same_minute(rng: random.Random, specimen: Specimen) -> bytes:
    """Several bars of one minute that differ, side by side or far apart."""
    rows = _rows(specimen)
    for _ in range(rng.randint(1, 6) if rows else 0):
        row = bytearray(rng.choice(rows))
        struct.pack_into("<Q", row, 48, rng.randrange(1000))
        if rng.random() < 0.3:
            _put_prices(rng, row)
        rows.insert(rng.randrange(len(rows) + 1), bytes(row))
    return _file(rng, specimen, rows)


def odd_prices(rng: random.Random, specimen: Specimen) -> bytes:
    """Prices that are missing, negative, below any floor, or as far out as they go."""
    return _with_odd(rng, specimen, lambda row: _put_prices(rng, row))


def odd_volumes(rng: random.Random, specimen: Specimen) -> bytes:
    """Volumes at and beyond what can be."""
    odd = rng.choice((_ODD_VOLUMES[:3], _ODD_VOLUMES))
    return _with_odd(
        rng, specimen, lambda row: struct.pack_into("<Q", row, 48, rng.choice(odd)), most=20
    )


def odd_times(rng: random.Random, specimen: Specimen) -> bytes:
    """Opens off the minute, outside the header's range, on another date, or nowhere."""

    def put(row: bytearray) -> None:
        (ts,) = struct.unpack_from("<Q", row, 8)
        days = rng.randrange(-3, 4) * 1440
        near = ts + rng.choice((1, -1, 1000, _MINUTE, -_MINUTE, days * _MINUTE, 5 * _MINUTE))
        odd = (0, _MINUTE, 2**63 - 1, 2**63, 2**64 - 1, 2**63 // _MINUTE * _MINUTE)
        ts = rng.choice(odd) if rng.random() < 0.3 else near % 2**64
        struct.pack_into("<Q", row, 8, ts)

    return _with_odd(rng, specimen, put)


def odd_ids(rng: random.Random, specimen: Specimen) -> bytes:
    """Instruments the header doesn't know, or another one than the bar's."""
    return _with_odd(
        rng, specimen, lambda row: struct.pack_into("<I", row, 4, rng.choice(_ODD_IDS))
    )


def odd_kinds(rng: random.Random, specimen: Specimen) -> bytes:
    """Records that say they are of another kind or length."""

    def put(row: bytearray) -> None:
        row[rng.randrange(2)] = rng.choice((0, 1, 14, 16, 32, 33, 34, 255))

    return _with_odd(rng, specimen, put)


def foreign_bytes(rng: random.Random, specimen: Specimen) -> bytes:
    """Something between the records: noise, a record's half, another file, zeros."""
    at = rng.randrange(len(specimen.records) // SIZE + 1) * SIZE
    other = rng.choice(generated())
    between = rng.choice(
        (
            rng.randbytes(rng.randrange(1, 200)),
            rng.randbytes(SIZE),
            bytes(SIZE * rng.randint(1, 3)),
            other.records[:SIZE],
            other.content,
            specimen.records[: rng.randrange(SIZE)],
        )
    )
    made = specimen.records[:at] + between + specimen.records[at:]
    return packed(rng, specimen.header + made)


def _put_prices(rng: random.Random, row: bytearray) -> None:
    if rng.random() < 0.3:
        price = rng.choice(_ODD_PRICES)
        for at in _PRICES:
            struct.pack_into("<q", row, at, price)
        return
    for at in rng.sample(_PRICES, rng.randint(1, 4)):
        struct.pack_into("<q", row, at, rng.choice(_ODD_PRICES))


def _with_odd(
    rng: random.Random, specimen: Specimen, put: Callable[[bytearray], None], most: int = 4
) -> bytes:
    rows = _rows(specimen)
    for _ in range(rng.randint(1, most) if rows else 0):
        at = rng.randrange(len(rows))
        row = bytearray(rows[at])
        put(row)
        rows[at] = bytes(row)
    return _file(rng, specimen, rows)


def _rows(specimen: Specimen) -> list[bytes]:
    return [specimen.records[at : at + SIZE] for at in range(0, len(specimen.records), SIZE)]


def _file(rng: random.Random, specimen: Specimen, rows: list[bytes]) -> bytes:
    return packed(rng, specimen.header + b"".join(rows))
