"""docs/API.md says what the interface does."""

from __future__ import annotations

import re

from trisignal_pipeline.api.access import LEAST_TOKEN_LENGTH
from trisignal_pipeline.api.application import CONNECTIONS, PATIENCE_SECONDS, build_app
from trisignal_pipeline.api.parameters import MOST_ROWS, MOST_TRIANGLES
from trisignal_pipeline.api.quality import MOST_DATES
from trisignal_pipeline.api.representation import CURSOR_HEADER, Form
from trisignal_pipeline.query.bar_pages import MOST_MINUTES
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.test_documents import ROOT, code_spans, table_rows

TEXT = (ROOT / "docs" / "API.md").read_text("utf-8")
SECURITY = (ROOT / "docs" / "SECURITY.md").read_text("utf-8")
PATHS = build_app(Database("postgresql://nobody@127.0.0.1:1/nothing")).openapi()["paths"]


def test_every_path_is_listed_with_its_parameters() -> None:
    rows = {code_spans(row[0])[0]: row for row in table_rows(TEXT) if row[0].startswith("`/")}
    assert set(rows) == set(PATHS)
    for path, item in PATHS.items():
        named = {span.partition("=")[0] for span in code_spans(rows[path][2])}
        assert named == {one["name"] for one in item["get"].get("parameters", [])}, path


def test_every_status_is_listed() -> None:
    listed = {row[0] for row in table_rows(TEXT) if re.fullmatch(r"\d{3}", row[0])}
    described = {status for item in PATHS.values() for status in item["get"]["responses"]}
    assert listed == described - {"200", "304"}


def test_limits_and_names_are_as_stated() -> None:
    text = " ".join(TEXT.split())
    assert f"at most {MOST_ROWS:,}, of triangles {MOST_TRIANGLES:,}" in text
    assert f"at most {MOST_DATES['coverage']:,} dates for coverage" in text
    assert f"{MOST_DATES['alignment']} for alignment" in text
    assert f"{MOST_DATES['determinism']} for determinism" in text
    assert f"some {MOST_MINUTES:,} minutes at most" in text
    assert f"up to {CONNECTIONS} connections" in text
    assert f"up to {PATIENCE_SECONDS:g} s for one" in text
    assert f"`{CURSOR_HEADER}`" in text
    assert all(f"`{form}`" in text for form in Form)
    assert f"at least {LEAST_TOKEN_LENGTH} characters" in SECURITY
