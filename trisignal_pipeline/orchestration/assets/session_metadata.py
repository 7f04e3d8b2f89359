"""The picture of a session as Dagster shows it with a partition of the triangles."""

from __future__ import annotations

import base64
from datetime import date, timedelta

import dagster as dg
import numpy as np
import numpy.typing as npt
import pandas as pd

from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.market.sessions import sessions
from trisignal_pipeline.market.symbols import Market
from trisignal_pipeline.orchestration.partition_metadata import MetadataOfOne
from trisignal_pipeline.orchestration.session_picture import Session, session_png
from trisignal_pipeline.schemas import BIAS_COLUMNS
from trisignal_pipeline.signal.replay import BiasSeries
from trisignal_pipeline.signal.rules import BIAS_NAMES, DIRECTION_NAMES
from trisignal_pipeline.storage.bars import TABLE_OF_LAYER, read_bars
from trisignal_pipeline.storage.connection import Connection
from trisignal_pipeline.storage.signals import SignalRecord, read_bias, read_triangles

ENTRY = "session"


def session_metadata(connection: Connection, market: Market, record: SignalRecord) -> MetadataOfOne:
    """The picture of what is stored of one date, or nothing where its signal has no bars.

    The image is part of the text, so that the UI shows it without asking anyone for a file.
    """
    session = stored_session(connection, market, record)
    if not len(session.bars):
        return {}
    image = base64.b64encode(session_png(session)).decode("ascii")
    title = f"{session.symbol} on {session.day}"
    return {ENTRY: dg.MetadataValue.md(f"![{title}](data:image/png;base64,{image})")}


def stored_session(connection: Connection, market: Market, record: SignalRecord) -> Session:
    """The bars that the date's signal was made from, and what came of them."""
    symbol, dates = str(market.symbol), DateRange(record.date, record.date)
    [table] = [one for one in TABLE_OF_LAYER.values() if one.name == record.source_table]
    bars = read_bars(connection, table, symbol, dates.start_ns, dates.end_ns)
    bias = read_bias(connection, symbol, dates)
    events = read_triangles(connection, symbol, dates)
    # Bars that the hygiene rules kept from the signal have no bias.
    bars = bars.take(np.isin(bars.ts, bias["ts"].to_numpy()))
    return Session(
        symbol,
        record.date,
        bars,
        BiasSeries(
            bias["ts"].to_numpy(),
            np.column_stack([_codes(bias[name], BIAS_NAMES) for name in BIAS_COLUMNS]),
        ),
        events["ts"].to_numpy(),
        _codes(events["direction"], DIRECTION_NAMES),
        closed_spans(market.session_profile, record.date),
    )


def closed_spans(profile: str, day: date) -> list[tuple[int, int]]:
    """When on the UTC date the market doesn't trade: [start, end) in nanoseconds, in order."""
    around = sessions(profile, day, day + timedelta(days=1))
    dates = DateRange(day, day)
    starts = np.column_stack((around.open_ns, around.pause_end_ns)).ravel()
    ends = np.column_stack((around.pause_start_ns, around.close_ns)).ravel()
    closed = zip([dates.start_ns, *ends.tolist()], [*starts.tolist(), dates.end_ns], strict=True)
    return [
        (max(start, dates.start_ns), min(end, dates.end_ns))
        for start, end in closed
        if max(start, dates.start_ns) < min(end, dates.end_ns)
    ]


def _codes(words: pd.Series, names: tuple[str, ...]) -> npt.NDArray[np.int8]:
    # -1 stands for the last of three names.
    codes = dict(zip(names, (0, 1, -1), strict=True))
    return np.asarray(words.map(codes), np.int8)
