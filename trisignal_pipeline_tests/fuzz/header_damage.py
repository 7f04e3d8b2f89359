"""Damage to the header that gets past the compression: lengths, counts, versions, text."""

from __future__ import annotations

import random
import struct

from trisignal_pipeline_tests.fuzz.container_damage import flip, packed
from trisignal_pipeline_tests.fuzz.specimens import Specimen, generated, whole_header

_ABSURD = (0, 1, 2, 7, 8, 55, 56, 100, 2**16, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
_ABSURD_TIMES = (0, 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
_SPANS = (1, 60 * 10**9, 86_400 * 10**9)
_START = 8 + 16 + 2  # after the prelude, the dataset and the schema


def flipped_bits(rng: random.Random, specimen: Specimen) -> bytes:
    """A few bits anywhere in the header."""
    return packed(rng, flip(rng, specimen.header, rng.randint(1, 3)) + specimen.records)


def absurd_number(rng: random.Random, specimen: Specimen) -> bytes:
    """Four bytes of the header become a number that may be a length or a count."""
    header = bytearray(specimen.header)
    at = rng.randrange(8, len(header) - 4)
    struct.pack_into("<I", header, at, rng.choice(_ABSURD))
    return packed(rng, bytes(header) + specimen.records)


def wrong_length(rng: random.Random, specimen: Specimen) -> bytes:
    """The header claims another length: it swallows records, or records swallow it."""
    length = int.from_bytes(specimen.header[4:8], "little")
    claimed = rng.choice(
        (*_ABSURD, length + 1, length - 1, length + 8, length + 56, length + 112, length - 56)
    )
    header = specimen.header[:4] + struct.pack("<I", max(0, claimed)) + specimen.header[8:]
    return packed(rng, header + specimen.records)


def version(rng: random.Random, specimen: Specimen) -> bytes:
    """Another version than the one it is written in."""
    header = specimen.header[:3] + bytes([rng.choice((0, 1, 2, 3, 4, 255))]) + specimen.header[4:]
    return packed(rng, header + specimen.records)


def times(rng: random.Random, specimen: Specimen) -> bytes:
    """Another range than the records': none, all time, backwards, off the minute."""
    header = bytearray(specimen.header)
    for at in rng.sample((_START, _START + 8), rng.randint(1, 2)):
        (was,) = struct.unpack_from("<Q", header, at)
        row = rng.randrange(len(specimen.records) // 56) * 56
        (bar,) = struct.unpack_from("<Q", specimen.records, row + 8)
        near = rng.choice((was, bar)) + rng.choice((-1, 0, 1)) * rng.choice(_SPANS)
        struct.pack_into("<Q", header, at, rng.choice((*_ABSURD_TIMES, *[near % 2**64] * 6)))
    return packed(rng, bytes(header) + specimen.records)


def text(rng: random.Random, specimen: Specimen) -> bytes:
    """Bytes in the middle of a name that no name has."""
    header = bytearray(specimen.header)
    places = [at for at in range(8, len(header)) if 48 <= header[at] < 91] or [8]
    at = rng.choice(places)
    odd = rng.choice(
        (b"\x00", b"\n", b"\x1b[2J", b"\xff", b"\xe2\x80\xae", b"'", b" ", b"\\", b"%s")
    )
    header[at : at + len(odd)] = odd
    return packed(rng, bytes(header) + specimen.records)


def another_header(rng: random.Random, specimen: Specimen) -> bytes:
    """The records of one file behind the header of another, or behind two."""
    other = rng.choice(generated()).header
    header = rng.choice((other, other + specimen.header, specimen.header * 2, b""))
    return packed(rng, header + specimen.records)


def another_promise(rng: random.Random, specimen: Specimen) -> bytes:
    """A whole header that promises something else."""
    header = whole_header(
        version=rng.choice((1, 2, 3)),
        **rng.choice(
            (
                {"schema": rng.choice(("trades", "ohlcv-1s", "ohlcv-1h", "ohlcv-1d", "mbo"))},
                {"schema": None},
                {"ts_out": True},
                {"dataset": rng.choice(("", " ", "XNAS.ITCH", "\n", "GLBX.MDP3\x1b"))},
                {"stype_in": None},
                {"stype_out": "raw_symbol"},
                {"symbols": ["NQ.FUT"] * rng.choice((0, 1, 3000))},
                {"end": None},
                {"stype_in": "continuous"},
                {"stype_in": "parent"},
            )
        ),
    )
    return packed(rng, header + specimen.records)
