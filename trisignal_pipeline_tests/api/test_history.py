"""What is stored of a market, as it is asked for: whole, in pages, in three forms."""

from __future__ import annotations

import base64
import csv
import io
import json
from datetime import date
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest

from trisignal_pipeline.api.application import build_app
from trisignal_pipeline.api.parameters import MOST_ROWS, MOST_TRIANGLES
from trisignal_pipeline.api.representation import CURSOR_HEADER, Form
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.signal.rules import TIMEFRAMES
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.api.running_api import Answer, Api, running
from trisignal_pipeline_tests.query.stored_market import (
    HOLIDAY_WEEK,
    NQ,
    generated,
    store_clean,
    store_signals,
    with_roll,
)

DAY = {"symbol": NQ, "start": "2024-11-26T00:00:00Z", "end": "2024-11-27T00:00:00Z"}
WEEK = {**DAY, "end": "2024-12-04T00:00:00Z"}
PAGED = ("bars", "bias", "triangles/events", "dataset")
every_page = pytest.mark.parametrize("path", PAGED)

STORED = {
    "bars": "SELECT ts, open, high, low, close, volume, contract FROM market_bars_ohlcv_1m_clean",
    "bias": "SELECT ts, bias_1m, bias_5m, bias_15m, bias_1h, bias_4h, bias_1d "
    "FROM bias_series_1m_v1",
    "triangles/events": "SELECT ts, direction, bias_1m, bias_m5, bias_m15, bias_h1, bias_h4, "
    "bias_d1 FROM triangle_events_v1",
}


def stored(database: Database, path: str) -> list[tuple[Any, ...]]:
    """The rows as the tables have them, times as text and prices as numbers."""
    with database.connect("test") as connection:
        found = connection.execute(f"{STORED[path]} ORDER BY 1, 2").fetchall()  # type: ignore[call-overload]
    return [
        (
            f"{row[0]:%Y-%m-%dT%H:%M:%SZ}",
            *(value if isinstance(value, (str, int)) else float(value) for value in row[1:]),
        )
        for row in found
    ]


def rows_of(answer: Answer, width: int | None = None) -> list[tuple[Any, ...]]:
    assert answer.status == 200, answer.content
    columns = list(answer.columns.values())
    assert all(len(column) == answer.json["rows"] for column in columns)
    return list(zip(*columns[:width], strict=True))


@pytest.mark.parametrize("path", STORED)
def test_a_span_holds_what_the_tables_hold(api: Api, week: Database, path: str) -> None:
    expected = stored(week, path)
    answer = api.get(path, **WEEK)

    assert rows_of(answer, len(expected[0])) == expected
    assert answer.json["next_cursor"] is None
    assert answer.json["symbol"] == NQ


def test_a_span_holds_its_start_and_not_its_end(api: Api) -> None:
    minutes = api.get("bars", **DAY).columns["ts"]

    part = api.get("bars", symbol=NQ, start=minutes[5], end=minutes[9]).columns["ts"]
    assert part == minutes[5:9]


def test_offsets_are_instants(api: Api) -> None:
    there = api.get("bars", **DAY | {"start": "2024-11-25T18:00:00-06:00"})
    assert there.columns == api.get("bars", **DAY).columns


@pytest.mark.parametrize("timeframe", TIMEFRAMES)
def test_pages_of_any_timeframe_are_the_whole(api: Api, timeframe: str) -> None:
    whole = rows_of(api.get("bars", tf=timeframe, **WEEK))
    size = max(2, len(whole) // 3)

    assert len(whole) > 3
    assert [row for page in pages(api, "bars", size, tf=timeframe, **WEEK) for row in page] == whole


def pages(api: Api, path: str, limit: int, **asked: object) -> list[list[tuple[Any, ...]]]:
    found = []
    cursor: dict[str, str] = {}
    while True:
        answer = api.get(path, limit=limit, **asked, **cursor)
        found.append(rows_of(answer))
        assert len(found[-1]) <= limit
        following = answer.json["next_cursor"]
        assert answer.headers[CURSOR_HEADER] == following
        if following is None:
            return found
        assert quote(following) in answer.headers["Link"]
        cursor = {"cursor": following}


@every_page
def test_pages_are_the_whole_without_a_row_twice(api: Api, path: str) -> None:
    whole = rows_of(api.get(path, **WEEK))
    found = pages(api, path, len(whole) // 3, **WEEK)

    assert len(found) >= 3
    assert [row for page in found for row in page] == whole


def test_pages_stay_as_they_are_while_rows_are_written(own_week: Database) -> None:
    with running(build_app(own_week)) as api:
        whole = rows_of(api.get("bars", **WEEK))
        first = api.get("bars", limit=4000, **WEEK)
        # All minutes of the first two dates: many more rows before the cursor than there were.
        more = DateRange(date(2024, 11, 26), date(2024, 11, 27))
        store_clean(own_week, generated(more), more)
        second = api.get("bars", cursor=first.json["next_cursor"], **WEEK)

        assert rows_of(first) + rows_of(second) == whole
        assert len(rows_of(api.get("bars", **WEEK))) > len(whole) + 200


def test_a_page_may_end_where_the_data_ends(api: Api) -> None:
    count = api.get("bias", **DAY).json["rows"]
    assert api.get("bias", limit=count, **DAY).json["next_cursor"] is None


def test_triangles_can_be_those_of_one_direction(api: Api) -> None:
    both = rows_of(api.get("triangles/events", types="BULL,BEAR", **WEEK))
    bulls = rows_of(api.get("triangles/events", types="BULL", **WEEK))

    assert both == rows_of(api.get("triangles/events", **WEEK))
    assert bulls == [row for row in both if row[1] == "BULL"]
    assert 0 < len(bulls) < len(both)


def test_the_dataset_joins_bars_biases_and_triangles(api: Api) -> None:
    found = api.get("dataset", **WEEK).columns
    bars, bias = api.get("bars", **WEEK).columns, api.get("bias", **WEEK).columns
    events = api.get("triangles/events", **WEEK).columns

    assert {name: found[name] for name in bars} == bars
    assert {name: found[name] for name in bias} == bias
    flips = [row for row, event in enumerate(found["triangle"]) if event is not None]
    assert [found["ts"][row] for row in flips] == events["ts"]
    assert [found["triangle"][row] for row in flips] == events["direction"]
    assert [found["sweep_engulfing"][row] for row in flips] == events["sweep_engulfing"]
    assert found["engulfing"][0] is None


def test_groups_of_columns_can_be_left_out_of_the_dataset(api: Api) -> None:
    assert list(api.get("dataset", include="bias", **DAY).columns) == [
        "ts", "bias_1m", "bias_m5", "bias_m15", "bias_h1", "bias_h4", "bias_d1",
    ]  # fmt: skip
    assert "open" in api.get("dataset", include="triangles,bars", **DAY).columns
    assert "bias_1m" not in api.get("dataset", include="triangles,bars", **DAY).columns


def test_a_minute_without_a_bias_yet_has_nulls(own_week: Database) -> None:
    with own_week.connect("test") as connection:
        connection.execute("DELETE FROM bias_series_1m_v1 WHERE ts >= '2024-11-26T12:00Z'")
    with running(build_app(own_week)) as api:
        found = api.get("dataset", **DAY).columns
        early = [ts < "2024-11-26T12" for ts in found["ts"]]

        assert [bias is not None for bias in found["bias_1m"]] == early
        assert found["open"] == api.get("bars", **DAY).columns["open"]


def test_the_world_at_a_minute_is_its_row_of_the_dataset(api: Api) -> None:
    rows = api.get("dataset", **DAY).columns
    for row in (0, 7, next(i for i, one in enumerate(rows["triangle"]) if one)):
        world = api.get("world", symbol=NQ, ts=rows["ts"][row])
        assert world.status == 200
        assert {name: world.json[name] for name in rows} == {
            name: column[row] for name, column in rows.items()
        }
        assert world.json["in_doubt"] is False
        assert "explanation" not in world.json


def test_the_world_explains_itself_if_asked(api: Api) -> None:
    ts = api.get("triangles/events", **DAY).columns["ts"][0]
    world = api.get("world", symbol=NQ, ts=ts, include="explanation").json

    assert world["explanation"]["ts"] == ts
    assert world["explanation"]["triangle"] == world["triangle"]
    assert world["explanation"]["stored"]["agrees"] is True


def test_a_minute_without_a_bar_is_not_found(api: Api) -> None:
    minutes = set(api.get("bars", **DAY).columns["ts"])
    silent = next(
        ts for ts in (f"2024-11-26T05:{m:02}:00Z" for m in range(60)) if ts not in minutes
    )

    absent = api.get("world", symbol=NQ, ts=silent)
    assert absent.status == 404
    assert silent in absent.problem


@every_page
def test_the_forms_hold_the_same(api: Api, path: str) -> None:
    as_json = api.get(path, limit=40, **DAY)
    as_csv = api.get(path, {"Accept": "text/csv"}, limit=40, **DAY)
    as_arrow = api.get(path, {"Accept": Form.ARROW.value}, limit=40, **DAY)

    lines = list(csv.reader(io.StringIO(as_csv.content.decode())))
    assert lines[0] == list(as_json.columns)
    assert [line[0] for line in lines[1:]] == as_json.columns["ts"]
    assert [[number(text(value)) for value in row] for row in rows_of(as_json)] == [
        [number(value) for value in line] for line in lines[1:]
    ]
    table = pa.ipc.open_stream(as_arrow.content).read_all()
    assert table.column("ts").type.tz == "UTC"
    for name, column in as_json.columns.items():
        if name != "ts":
            assert table.column(name).to_pylist() == column
    cursors = {one.headers[CURSOR_HEADER] for one in (as_json, as_csv, as_arrow)}
    assert cursors == {as_json.json["next_cursor"]}
    assert as_csv.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert as_arrow.headers["Content-Type"] == Form.ARROW


def text(value: object) -> str:
    """A value of JSON as CSV writes it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def number(written: str) -> float | str:
    try:
        return float(written)
    except ValueError:
        return written


def test_an_empty_span_has_columns_and_no_rows_in_every_form(api: Api) -> None:
    empty = {"symbol": NQ, "start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}
    for path in PAGED:
        assert rows_of(api.get(path, **empty)) == []
        assert api.get(path, {"Accept": "text/csv"}, **empty).content.count(b"\n") == 1
        content = api.get(path, {"Accept": Form.ARROW.value}, **empty).content
        assert pa.ipc.open_stream(content).read_all().num_rows == 0


def test_the_accepted_form_is_the_one_of_the_most_weight(api: Api) -> None:
    for accept, form in (
        ("*/*", Form.JSON),
        ("text/html, text/*;q=0.5, */*;q=0.1", Form.CSV),
        ("application/json;q=0.2, text/csv;q=0.9", Form.CSV),
        (f"application/json;q=0.2, {Form.ARROW}", Form.ARROW),
        ("application/*", Form.JSON),
        ("text/csv;q=0, */*", Form.JSON),
    ):
        answer = api.get("bias", {"Accept": accept}, limit=1, **DAY)
        assert answer.headers["Content-Type"].startswith(form), accept
        assert "Accept" in answer.headers["Vary"]
    refused = api.get("bias", {"Accept": "image/png"}, **DAY)
    assert refused.status == 406
    assert "text/csv" in refused.problem


def test_what_is_large_comes_packed_to_who_can_unpack_it(api: Api) -> None:
    packed = api.get("dataset", {"Accept-Encoding": "gzip"}, **DAY)
    plain = api.get("dataset", **DAY)

    assert packed.headers["Content-Encoding"] == "gzip"
    assert plain.headers["Content-Encoding"] is None
    assert packed.content == plain.content
    assert int(packed.headers["Content-Length"]) * 4 < int(plain.headers["Content-Length"])


@every_page
def test_who_has_the_content_is_told_so(api: Api, path: str) -> None:
    first = api.get(path, **DAY)
    tag = first.headers["ETag"]

    for known in (tag, f'"other", {tag}', "*"):
        again = api.get(path, {"If-None-Match": known}, **DAY)
        assert (again.status, again.content) == (304, b"")
        assert again.headers["ETag"] == tag
    for headers, asked in (({}, {"limit": 3}), ({"Accept": "text/csv"}, {})):
        other = api.get(path, {"If-None-Match": tag, **headers}, **DAY, **asked)
        assert other.status == 200
        assert other.headers["ETag"] != tag


@every_page
def test_a_correction_gives_another_tag(own_week: Database, path: str) -> None:
    with running(build_app(own_week)) as api:
        tags = {"day": api.get(path, **DAY).headers["ETag"]}
        later = {**DAY, "start": "2024-12-02T00:00:00Z", "end": "2024-12-03T00:00:00Z"}
        tags["later"] = api.get(path, **later).headers["ETag"]
        last = DateRange(date(2024, 12, 3), date(2024, 12, 3))
        store_clean(own_week, with_roll(generated(last, seed=9)), last)
        store_signals(own_week, HOLIDAY_WEEK)

        assert api.get(path, {"If-None-Match": tags["day"]}, **DAY).status == 304
        day_of_it = {**DAY, "start": "2024-12-03T00:00:00Z", "end": "2024-12-04T00:00:00Z"}
        before = api.get(path, **day_of_it)
        store_clean(own_week, with_roll(generated(last, seed=10)), last)
        store_signals(own_week, HOLIDAY_WEEK)
        after = api.get(path, {"If-None-Match": before.headers["ETag"]}, **day_of_it)
        assert after.status == 200
        assert after.columns != before.columns


def test_malformed_requests_are_422_and_say_which_parameter(api: Api) -> None:
    for asked, named in (
        ({"limit": 0}, "limit"),
        ({"limit": MOST_ROWS + 1}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"tf": "2m"}, "tf"),
        ({"start": "yesterday"}, "start"),
        ({"start": "2024-11-26"}, "start"),
        ({"start": "2024-11-26T00:00:00"}, "start"),
        ({"start": "2024-11-26T00:00:00+25:00"}, "2024-11-26T00:00:00+25:00"),
        ({"end": DAY["start"]}, "end"),
        ({"symbol": "nq"}, "symbol"),
        ({"symbol": "'; DROP TABLE symbol_registry; --"}, "symbol"),
        ({"cursor": "!"}, "cursor"),
        ({"cursor": "bm8"}, "cursor"),
        ({"form": "csv"}, "form"),
    ):
        answer = api.get("bars", **{**DAY, **asked})
        assert answer.status == 422, asked
        assert named in answer.problem, answer.problem
    assert api.get("bars").status == 422
    assert api.get("bars?symbol=A:B&symbol=C:D").status == 422
    assert api.get("triangles/events", limit=MOST_TRIANGLES + 1, **DAY).status == 422
    assert api.get("triangles/events", types="UP", **DAY).status == 422
    assert api.get("dataset", include="everything", **DAY).status == 422
    assert api.get("world", symbol=NQ, ts=DAY["start"], include="all").status == 422


def test_a_time_within_a_minute_is_409(api: Api) -> None:
    for asked in ({"start": "2024-11-26T00:00:01Z"}, {"end": "2024-11-27T00:00:00.5Z"}):
        answer = api.get("bars", **{**DAY, **asked})
        assert answer.status == 409
        assert "not the start of a minute" in answer.problem
    assert api.get("world", symbol=NQ, ts="2024-11-26T00:00:59Z").status == 409


def test_a_symbol_that_is_not_in_the_registry_is_404(api: Api) -> None:
    for path in PAGED:
        unknown = api.get(path, **{**DAY, "symbol": "GLBX.MDP3:XX"})
        assert unknown.status == 404
        assert "trisignal symbols add" in unknown.problem


def test_a_cursor_belongs_to_its_question(api: Api) -> None:
    cursor = api.get("bars", limit=5, **DAY).json["next_cursor"]

    assert api.get("bars", limit=9, cursor=cursor, **DAY).status == 200
    for path, asked in (
        ("bars", {**DAY, "tf": "5m"}),
        ("bars", {**DAY, "end": "2024-11-28T00:00:00Z"}),
        ("bias", DAY),
    ):
        answer = api.get(path, cursor=cursor, **asked)
        assert answer.status == 422
        assert "cursor" in answer.problem


@every_page
def test_a_cursor_that_was_tampered_with_is_refused(api: Api, path: str) -> None:
    cursor = api.get(path, limit=1, **DAY).json["next_cursor"]
    question, *key = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))

    for other in (
        [], [*key, 1], ["x", *key[1:]], [None, *key[1:]], [1.5, *key[1:]], [10**30, *key[1:]],
        [-1, *key[1:]], [True, *key[1:]], [[], *key[1:]],
    ):  # fmt: skip
        forged = base64.urlsafe_b64encode(json.dumps([question, *other]).encode()).decode()
        assert api.get(path, cursor=forged.rstrip("="), **DAY).status == 422, other
    far = base64.urlsafe_b64encode(json.dumps([question, 2**57, *key[1:]]).encode()).decode()
    assert rows_of(api.get(path, cursor=far.rstrip("="), **DAY)) == []


def test_spans_may_reach_beyond_all_time(api: Api) -> None:
    ever = {"symbol": NQ, "start": "0001-01-01T00:00:00Z", "end": "9999-12-31T23:59:00Z"}
    for path in PAGED:
        assert rows_of(api.get(path, **ever)) == rows_of(api.get(path, **WEEK))
    assert rows_of(api.get("bars", tf="1d", **ever))[0][0] == "2024-11-26T23:00:00Z"


def test_the_head_of_an_answer_can_be_asked_for(api: Api) -> None:
    whole, head = api.get("bars", **DAY), api.get("bars", method="HEAD", **DAY)

    assert (head.status, head.content) == (200, b"")
    assert head.headers["ETag"] == whole.headers["ETag"]
    assert head.headers["Content-Length"] == whole.headers["Content-Length"]


def test_who_has_the_world_is_told_so(api: Api) -> None:
    asked = {"symbol": NQ, "ts": api.get("bars", **DAY).columns["ts"][0]}
    tag = api.get("world", **asked).headers["ETag"]

    assert api.get("world", {"If-None-Match": tag}, **asked).status == 304
    why = api.get("world", {"If-None-Match": tag}, include="explanation", **asked)
    assert why.status == 200
    assert why.headers["ETag"] != tag
    row = api.get("world", {"Accept": "text/csv"}, **asked)
    assert row.content.count(b"\n") == 2


def test_other_methods_and_paths_are_problems_too(api: Api) -> None:
    assert api.get("bars", method="POST").problem == "Method Not Allowed"
    assert api.get("nothing").problem == "Not Found"
