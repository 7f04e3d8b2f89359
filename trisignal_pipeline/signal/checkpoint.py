"""An engine state as bytes, and back.

Layout 1: the magic, the layout's number as one byte, then a zlib stream of a JSON head and the
sets of gaps. The head's length comes first, as four bytes; gaps follow as little-endian int64,
column by column, each as the difference to the gap before. Equal states give equal bytes.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

import numpy as np

from trisignal_pipeline.errors import SchemaVersionError
from trisignal_pipeline.market.bars import Int64s
from trisignal_pipeline.market.symbols import Anchor
from trisignal_pipeline.signal.bias import BiasState
from trisignal_pipeline.signal.replay import EngineState, LastMinute, TimeframeState
from trisignal_pipeline.signal.rules import LOGIC_VERSION
from trisignal_pipeline.signal.timeframes import UnfinishedBar

LAYOUT = 1

_MAGIC = b"TRISTATE"
_REMEDY = "discard it and replay from the first bar"


def to_bytes(state: EngineState) -> bytes:
    """`state` as bytes, some kilobytes for every thousand gaps alive."""
    series = [state.minutes, *(higher.series for higher in state.higher)]
    head = {
        "logic_version": LOGIC_VERSION,
        "anchor": str(state.anchor),
        "session_profile": state.session_profile,
        "last": None if state.last is None else _fields(state.last),
        "unfinished": [
            None if higher.unfinished is None else _fields(higher.unfinished)
            for higher in state.higher
        ],
        "scalars": [one.scalars.tolist() for one in series],
        "gaps": [[len(gaps) for gaps in one.parts()[1:]] for one in series],
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    body = b"".join(_pack_gaps(gaps) for one in series for gaps in one.parts()[1:])
    packed = zlib.compress(struct.pack("<I", len(text)) + text + body, level=6)
    return _MAGIC + bytes([LAYOUT]) + packed


def from_bytes(data: bytes) -> EngineState:
    """The state that `to_bytes` made `data` from.

    Raises:
        SchemaVersionError: `data` is not an engine state, is damaged, has another layout, or was
            made by other rules.
    """
    if not data.startswith(_MAGIC) or len(data) <= len(_MAGIC):
        raise SchemaVersionError(f"these {len(data)} bytes are not an engine state; {_REMEDY}")
    layout = data[len(_MAGIC)]
    if layout != LAYOUT:
        raise SchemaVersionError(
            f"the engine state has layout {layout}, this version reads layout {LAYOUT}; {_REMEDY}"
        )
    try:
        return _unpack(zlib.decompress(data[len(_MAGIC) + 1 :]))
    except (zlib.error, struct.error, ValueError, KeyError, TypeError) as error:
        raise SchemaVersionError(f"the engine state is damaged ({error}); {_REMEDY}") from error


def _unpack(content: bytes) -> EngineState:
    (length,) = struct.unpack_from("<I", content)
    head = json.loads(content[4 : 4 + length])
    if head["logic_version"] != LOGIC_VERSION:
        raise SchemaVersionError(
            f"the engine state was made by logic version {head['logic_version']}, the rules are "
            f"now {LOGIC_VERSION}; {_REMEDY}"
        )
    numbers = np.frombuffer(content, "<i8", offset=4 + length).astype(np.int64)
    series = []
    for scalars, sizes in zip(head["scalars"], head["gaps"], strict=True):
        sets = []
        for size in sizes:
            sets.append(_unpack_gaps(numbers[: 3 * size]))
            numbers = numbers[3 * size :]
        series.append(BiasState(np.array(scalars, np.int64), *sets))
    higher = tuple(
        TimeframeState(one, None if bar is None else UnfinishedBar(**bar))
        for one, bar in zip(series[1:], head["unfinished"], strict=True)
    )
    last = head["last"]
    return EngineState(
        Anchor(head["anchor"]),
        head["session_profile"],
        series[0],
        higher,
        None if last is None else LastMinute(**(last | {"bias": tuple(last["bias"])})),
    )


def _fields(value: LastMinute | UnfinishedBar) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def _pack_gaps(gaps: Int64s) -> bytes:
    return np.diff(gaps.T, axis=1, prepend=0).astype("<i8").tobytes()


def _unpack_gaps(numbers: Int64s) -> Int64s:
    return np.ascontiguousarray(np.cumsum(numbers.reshape(3, -1), axis=1).T, np.int64)
