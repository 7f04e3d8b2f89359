"""Lead-contract bars from the real DBN files, decoded apart from the product's own reader."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path

import numpy as np
import zstandard
from databento_dbn import Metadata

from trisignal_pipeline.market.bars import Bars
from trisignal_pipeline.market.dates import NS_PER_DAY, day_number

RECORD = np.dtype(
    [
        ("length", "u1"),
        ("rtype", "u1"),
        ("publisher", "<u2"),
        ("instrument", "<u4"),
        ("ts", "<u8"),
        ("open", "<i8"),
        ("high", "<i8"),
        ("low", "<i8"),
        ("close", "<i8"),
        ("volume", "<u8"),
    ]
)


def lead_bars(folder: Path) -> Bars:
    """The bars of the contract that `expected_lead_contract.csv` names for each UTC date."""
    with (folder / "expected_lead_contract.csv").open(newline="") as file:
        lead = {
            day_number(date.fromisoformat(row["date"])): row["contract"]
            for row in csv.DictReader(file)
        }
    parts = [_lead_records(path, lead) for path in sorted(folder.glob("*.dbn.zst"))]
    records = np.sort(np.concatenate(parts), order="ts")
    columns = (records[name].astype(np.int64) for name in ("ts", "open", "high", "low", "close"))
    contracts = tuple(dict.fromkeys(lead.values()))
    days = records["ts"] // NS_PER_DAY
    return Bars(
        *columns,
        records["volume"].astype(np.int64),
        np.array([contracts.index(lead[int(day)]) for day in days], np.int32),
        contracts,
    )


def _lead_records(path: Path, lead: dict[int, str]) -> np.ndarray:
    content = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(path.read_bytes())).read()
    metadata_length = 8 + int.from_bytes(content[4:8], "little")
    metadata = Metadata.decode(content[:metadata_length])
    records = np.frombuffer(content, RECORD, offset=metadata_length)
    wanted = np.zeros(len(records), np.bool_)
    days = (records["ts"] // NS_PER_DAY).astype(np.int64)
    for symbol, intervals in metadata.mappings.items():
        for interval in intervals:
            if not interval["symbol"]:
                continue
            first, after = (day_number(interval[key]) for key in ("start_date", "end_date"))
            led = [day for day, contract in lead.items() if contract == symbol]
            wanted |= (
                (records["instrument"] == int(interval["symbol"]))
                & (days >= first)
                & (days < after)
                & np.isin(days, led)
            )
    return records[wanted]
