"""An engine state as bytes: what goes in comes out, and nothing else is taken for one."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trisignal_pipeline.errors import SchemaVersionError
from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.market.symbols import Anchor
from trisignal_pipeline.signal import checkpoint
from trisignal_pipeline.signal.checkpoint import from_bytes, to_bytes
from trisignal_pipeline.signal.replay import advance, start
from trisignal_pipeline_tests.signal.generated_bars import session_minutes, walk

BARS = walk(session_minutes(sessions("cme_equity", date(2024, 11, 4), date(2024, 11, 8))), seed=8)
STATE = advance(start(), BARS.take(slice(0, 5000)))[0]
DATA = to_bytes(STATE)


@pytest.mark.parametrize("anchor", list(Anchor))
def test_the_state_before_the_first_bar_survives(anchor: Anchor) -> None:
    assert from_bytes(to_bytes(start(anchor))) == start(anchor)


def test_a_state_goes_on_from_bytes_as_if_it_had_never_left() -> None:
    rest = BARS.take(slice(5000, None))
    whole, series = advance(STATE, rest)
    again, series_again = advance(from_bytes(DATA), rest)
    assert again == whole
    assert to_bytes(again) == to_bytes(whole)
    assert series_again.bias.tobytes() == series.bias.tobytes()


def test_gaps_take_a_few_bytes_each() -> None:
    bars = walk(session_minutes(sessions("cme_equity", date(2024, 1, 2), date(2024, 3, 1))), 1)
    state = advance(start(), bars)[0]
    assert state.gaps_alive > 200
    assert len(to_bytes(state)) < 2000 + 16 * state.gaps_alive


def test_another_layout_is_refused_by_its_number() -> None:
    other = bytearray(DATA)
    other[8] = 7
    with pytest.raises(SchemaVersionError, match="has layout 7, this version reads layout 1"):
        from_bytes(bytes(other))


def test_a_state_of_other_rules_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "LOGIC_VERSION", "0-before")
    other = to_bytes(STATE)
    monkeypatch.undo()
    with pytest.raises(SchemaVersionError, match="logic version 0-before"):
        from_bytes(other)


@pytest.mark.parametrize("data", [b"", b"TRISTATE", b"something else entirely"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(SchemaVersionError, match="not an engine state"):
        from_bytes(data)


@settings(max_examples=60, deadline=None)
@given(st.integers(9, len(DATA) - 1))
def test_a_state_cut_short_is_refused(length: int) -> None:
    with pytest.raises(SchemaVersionError, match="damaged"):
        from_bytes(DATA[:length])


@settings(max_examples=200, deadline=None)
@given(st.integers(9, len(DATA) - 1), st.integers(1, 255))
def test_a_changed_byte_never_gives_another_state(place: int, change: int) -> None:
    other = bytearray(DATA)
    other[place] ^= change
    try:
        found = from_bytes(bytes(other))
    except SchemaVersionError:
        return
    assert found == STATE, "a few bits of the packing mean nothing; this one did"


def test_a_changed_price_is_refused() -> None:
    other = bytearray(DATA)
    other[len(DATA) // 2] ^= 1
    with pytest.raises(SchemaVersionError, match="damaged"):
        from_bytes(bytes(other))
