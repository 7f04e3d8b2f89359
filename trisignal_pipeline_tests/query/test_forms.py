"""Tables for programs: the same rows in every form, with the types they have."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from trisignal_pipeline.cli import trisignal
from trisignal_pipeline.commands.printing import Form, print_table
from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.query.forms import WRITERS
from trisignal_pipeline.query.tables import Table, read_table
from trisignal_pipeline.storage.connection import Database

VALUES = """
    SELECT * FROM (VALUES
        (1, '2024-11-01 00:15+00'::timestamptz, 20123.250::numeric, 20123.25::float8,
         'a, "b"', true, '2024-11-01'::date, '{x,y z}'::text[], '{"R": 2}'::jsonb),
        (NULL, NULL, 5.000, 7::float8, '', false, NULL, '{}', NULL),
        (9007199254740993, '1969-12-31 23:59+00', 0.1, 0.1, NULL, NULL, '1969-01-01', NULL, '[]')
    ) AS v (whole, ts, exact, number, words, flag, day, list, held)
"""
ROWS = [
    (
        1,
        datetime(2024, 11, 1, 0, 15, tzinfo=UTC),
        Decimal("20123.25"),
        20123.25,
        'a, "b"',
        True,
        date(2024, 11, 1),
        ["x", "y z"],
        '{"R": 2}',
    ),
    (None, None, Decimal(5), 7.0, "", False, None, [], None),
    (
        9007199254740993,
        datetime(1969, 12, 31, 23, 59, tzinfo=UTC),
        Decimal("0.1"),
        0.1,
        None,
        None,
        date(1969, 1, 1),
        None,
        "[]",
    ),
]
CSV = (
    "whole,ts,exact,number,words,flag,day,list,held\n"
    '1,2024-11-01T00:15:00Z,20123.25,20123.25,"a, ""b""",true,2024-11-01,x y z,"{""R"": 2}"\n'
    ",,5,7,,false,,,\n"
    "9007199254740993,1969-12-31T23:59:00Z,0.1,0.1,,,1969-01-01,,[]\n"
)


def written(database: Database, form: str, query: str = VALUES) -> bytes:
    out = io.BytesIO()
    with database.connect("test") as connection:
        WRITERS[form](read_table(connection, query, {}), out)  # type: ignore[arg-type]
    return out.getvalue()


def test_rows_come_from_the_database_as_they_are(database: Database) -> None:
    with database.connect("test") as connection:
        table = read_table(connection, VALUES, {})

        assert list(table.rows) == ROWS


def test_csv_is_plain_text(database: Database) -> None:
    assert written(database, "csv").decode() == CSV
    assert list(csv.reader(io.StringIO(CSV)))[1][4] == 'a, "b"'


def test_json_is_an_array_of_objects(database: Database) -> None:
    first, second, third = json.loads(written(database, "json"))

    assert first == {
        "whole": 1,
        "ts": "2024-11-01T00:15:00Z",
        "exact": "20123.25",
        "number": 20123.25,
        "words": 'a, "b"',
        "flag": True,
        "day": "2024-11-01",
        "list": ["x", "y z"],
        "held": {"R": 2},
    }
    assert (second["ts"], second["words"], second["number"], second["held"]) == (None, "", 7, None)
    assert third["whole"] == 9007199254740993


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_parquet_and_arrow_keep_the_types_and_the_values(database: Database, form: str) -> None:
    content = io.BytesIO(written(database, form))
    table = pq.read_table(content) if form == "parquet" else pa.ipc.open_stream(content).read_all()

    assert table.schema.field("ts").type == pa.timestamp("us", "UTC")
    assert table.schema.field("whole").type == pa.int64()
    assert table.schema.field("exact").type == pa.decimal128(38, 18)
    assert table.schema.field("number").type == pa.float64()
    assert table.schema.field("flag").type == pa.bool_()
    assert table.schema.field("day").type == pa.date32()
    assert [tuple(row.values()) for row in table.to_pylist()] == ROWS


@pytest.mark.parametrize("form", WRITERS)
def test_no_rows_still_have_their_columns(database: Database, form: str) -> None:
    content = written(database, form, f"SELECT * FROM ({VALUES}) AS v WHERE false")

    if form == "csv":
        assert content == CSV.encode().splitlines(keepends=True)[0]
    elif form == "json":
        assert json.loads(content) == []
    else:
        out = io.BytesIO(content)
        table = pq.read_table(out) if form == "parquet" else pa.ipc.open_stream(out).read_all()
        assert table.column_names == CSV.splitlines()[0].split(",")
        assert table.num_rows == 0


def broken() -> Table:
    """A table that breaks off in the middle."""

    def rows() -> object:
        yield from ([number] for number in range(6_000))
        raise ValueError("gone")

    return Table.of_rows({"n": pa.int64()}, rows())  # type: ignore[arg-type]


@pytest.mark.parametrize("form", WRITERS)
def test_a_file_that_was_begun_and_not_finished_leaves_the_old_one(
    tmp_path: Path, form: str
) -> None:
    output = tmp_path / "out"
    output.write_bytes(b"before")

    with pytest.raises(ValueError, match="gone"):
        print_table(broken(), Form(form, output))

    assert output.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [output]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="--output"):
        print_table(broken(), Form("csv", tmp_path / "none" / "out.csv"))


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_bytes_are_not_for_a_terminal(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)

    with pytest.raises(ConfigurationError, match="terminal"):
        print_table(broken(), Form(form))


def test_a_table_for_people_goes_to_no_file() -> None:
    answer = CliRunner().invoke(trisignal, ["symbols", "list", "--output", "x"])

    assert answer.exit_code == 2
    assert "--format csv" in answer.output
