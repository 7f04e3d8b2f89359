"""Damage to what a file is packed in: cuts, flips, splices, frames that lie about their size."""

from __future__ import annotations

import random
import struct

import zstandard

from trisignal_pipeline_tests.fuzz.specimens import Specimen, unusable_files

SKIPPABLE = b"\x50\x2a\x4d\x18"
ZSTD = b"\x28\xb5\x2f\xfd"


def packed(rng: random.Random, content: bytes) -> bytes:
    """`content` as a file on disk: plain, in one frame or in several, with checksums or without."""
    manner = rng.random()
    if manner < 0.3:
        return content
    cuts = sorted(rng.randrange(len(content) + 1) for _ in range(rng.choice((0, 0, 0, 1, 3))))
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, None], strict=True)]
    checksum = manner < 0.8
    frames = [
        zstandard.ZstdCompressor(
            write_checksum=checksum, write_content_size=rng.random() < 0.7
        ).compress(piece)
        for piece in pieces
    ]
    if rng.random() < 0.1:
        frames.insert(rng.randrange(len(frames) + 1), _skippable(rng.randbytes(rng.randrange(20))))
    return b"".join(frames)


def flipped_bits(rng: random.Random, specimen: Specimen) -> bytes:
    """A few bits of the file as it lies on disk."""
    return flip(rng, packed(rng, specimen.content), rng.randint(1, 4))


def cut(rng: random.Random, specimen: Specimen) -> bytes:
    """The end of the file is missing, or its beginning."""
    whole = packed(rng, specimen.content)
    at = rng.randrange(len(whole) + 1)
    return whole[:at] if rng.random() < 0.8 else whole[at:]


def hole(rng: random.Random, specimen: Specimen) -> bytes:
    """A piece in the middle is missing, is zeros, or is there twice."""
    whole = packed(rng, specimen.content)
    first, last = sorted(rng.randrange(len(whole) + 1) for _ in range(2))
    middle = whole[first:last]
    return whole[:first] + rng.choice((b"", bytes(len(middle)), middle * 2)) + whole[last:]


def appended(rng: random.Random, specimen: Specimen) -> bytes:
    """Something follows the file: noise, another file, frames of something else."""
    whole = packed(rng, specimen.content)
    other = rng.choice(
        (
            rng.randbytes(rng.randint(1, 100)),
            packed(rng, specimen.content),
            packed(rng, specimen.records),
            packed(rng, specimen.header),
            zstandard.compress(rng.randbytes(rng.randrange(200))),
            _skippable(b"note"),
            SKIPPABLE,
            ZSTD,
            bytes(rng.randrange(100)),
        )
    )
    return whole + other if rng.random() < 0.8 else other + whole


def shuffled_frames(rng: random.Random, specimen: Specimen) -> bytes:
    """Frames of the same file in another order, or some left out."""
    content = specimen.content
    cuts = sorted(rng.randrange(len(content) + 1) for _ in range(3))
    frames = [
        zstandard.compress(content[a:b]) for a, b in zip([0, *cuts], [*cuts, None], strict=True)
    ]
    return b"".join(rng.sample(frames, rng.randint(1, len(frames))))


def lying_frame(rng: random.Random, specimen: Specimen) -> bytes:
    """A frame header that claims an absurd window or content, before blocks that are right."""
    whole = zstandard.ZstdCompressor(write_content_size=False).compress(specimen.content)
    # Magic, descriptor, window; then the blocks.
    blocks = whole[6:]
    size = rng.choice((0, 1, len(specimen.content), 2**32 - 1, 2**40, 2**63, 2**64 - 1))
    manner = rng.randrange(4)
    if manner == 0:
        return ZSTD + bytes([0x00, rng.randrange(256)]) + blocks
    if manner == 1:
        return ZSTD + bytes([0xE0]) + struct.pack("<Q", size) + blocks
    if manner == 2:
        return ZSTD + bytes([0xC0, rng.randrange(256)]) + struct.pack("<Q", size) + blocks
    return ZSTD + bytes([0x03, 0x58]) + struct.pack("<I", rng.getrandbits(32)) + blocks


def bomb(rng: random.Random, specimen: Specimen) -> bytes:
    """A few kilobytes that unpack to hundreds of megabytes: one record, zeros, or noise."""
    record = specimen.records[:56] or bytes(56)
    filling = rng.choice((record, bytes(56), rng.randbytes(1) * 56))
    header = rng.choice((specimen.header, specimen.header, b"DBN\x03" + struct.pack("<I", 2**31)))
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    block = filling * 20_000
    pieces = [compressor.compress(header)]
    pieces += [compressor.compress(block) for _ in range(rng.choice((30, 300)))]
    return b"".join([*pieces, compressor.flush()])


def foreign(rng: random.Random, _: Specimen) -> bytes:
    """What was never a file of bars: nothing, a byte, noise, another format, another schema."""
    return rng.choice(
        (
            b"",
            rng.randbytes(1),
            rng.randbytes(rng.randrange(2000)),
            b"DBN",
            ZSTD,
            SKIPPABLE + bytes(4),
            zstandard.compress(b""),
            zstandard.compress(rng.randbytes(rng.randrange(300))),
            b"ts_event,rtype\n1,33\n",
            *unusable_files(),
        )
    )


def flip(rng: random.Random, content: bytes, bits: int) -> bytes:
    """`content` with `bits` of its bits the other way round."""
    damaged = bytearray(content)
    for _ in range(bits if damaged else 0):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _skippable(note: bytes) -> bytes:
    return SKIPPABLE + struct.pack("<I", len(note)) + note
