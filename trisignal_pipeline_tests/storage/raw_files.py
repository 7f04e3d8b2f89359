"""Files of bars in a raw folder, right and wrong."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from trisignal_pipeline.market.dates import NS_PER_DAY, midnight_ns
from trisignal_pipeline.storage.catalogue import CataloguedFile
from trisignal_pipeline_tests.sources.dbn_encoder import RecordArray, encode, records, write


def file_names(files: Iterable[CataloguedFile]) -> list[str]:
    """The names of catalogued files."""
    return [file.path.name for file in files]


def write_file(raw: Path, name: str, made: RecordArray | None = None, **header: Any) -> Path:
    """A file of three bars of NQM4, or of `made`, under a header that says otherwise."""
    return write(raw / name, encode(records([0, 1, 2]) if made is None else made, **header))


def write_one_day(raw: Path, name: str, day: date, made: RecordArray) -> Path:
    """A file of NQM4 that was made for one date."""
    start = midnight_ns(day)
    mapping = {"NQM4": [(day, day + timedelta(days=1), "1")]}
    return write_file(raw, name, made, start=start, end=start + NS_PER_DAY, mapping=mapping)
