"""Whether zstd data is whole, told from its frames."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.sources.zstd_frames import ZstdFrames

NOISE = random.Random(7).randbytes(300_000)
SKIPPABLE = struct.pack("<II", 0x184D2A53, 5) + b"hello"


def fault(*pieces: bytes) -> str | None:
    frames = ZstdFrames()
    for piece in pieces:
        frames.feed(piece)
    return frames.fault()


def compressed(data: bytes, **options: Any) -> bytes:
    return zstandard.ZstdCompressor(**options).compress(data)


FILES = {
    "one block": compressed(b"abc"),
    "with checksum": compressed(b"abc", write_checksum=True),
    "runs of one byte": compressed(b"A" * 1_000_000),
    "what can't be compressed": compressed(NOISE, write_checksum=True),
    "content size unknown": compressed(NOISE, write_content_size=False),
    "several frames": compressed(b"abc") + compressed(NOISE) + compressed(b""),
    "with skippable frames": SKIPPABLE + compressed(b"abc") + SKIPPABLE,
}


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_has_no_fault(name: str) -> None:
    assert fault(FILES[name]) is None


@pytest.mark.parametrize("name", FILES)
def test_pieces_of_any_size_are_the_same_file(name: str) -> None:
    content = FILES[name]
    for size in (1, 3, 4096):
        pieces = [content[at : at + size] for at in range(0, len(content), size)]
        assert fault(*pieces) is None


@given(name=st.sampled_from(sorted(set(FILES) - {"several frames", "with skippable frames"})))
def test_one_frame_cut_anywhere_is_cut_short(name: str) -> None:
    content = FILES[name]
    for cut in {1, 2, 5, 8, len(content) // 2, len(content) - 1} - {len(content)}:
        assert fault(content[:cut]) is not None, cut


def test_half_a_file_that_a_decoder_takes_for_whole_is_cut_short() -> None:
    half = FILES["what can't be compressed"][:-4]
    assert zstandard.ZstdDecompressor().stream_reader(half).read() == NOISE
    assert "cut short" in str(fault(half))


@pytest.mark.parametrize("garbage", [b"x", b"DBN\x03", bytes(64), NOISE[:999]])
def test_what_follows_the_frames_is_found(garbage: bytes) -> None:
    content = FILES["several frames"]
    assert f"at byte {len(content):,}" in str(fault(content + garbage))


def test_a_file_without_a_frame_of_data_is_at_fault() -> None:
    assert fault(SKIPPABLE) == "it holds no zstd frame with data"


@given(st.binary(max_size=200))
def test_any_bytes_get_an_answer(content: bytes) -> None:
    assert fault(content) is not None or content.startswith(b"\x28\xb5\x2f\xfd")
