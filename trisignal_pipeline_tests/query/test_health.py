"""Figures of health as tables and as lines for Prometheus."""

from __future__ import annotations

from trisignal_pipeline.query.health import exposition, figures_by_labels, figures_table
from trisignal_pipeline.storage.figures import Figure, Measured

SIZE = Figure("table_bytes", "bytes", "size of a table", ("table",))
GROWTH = Figure("growth_bytes", "bytes", "growth", ("table",))
ROWS = Figure("stored_rows", "", "rows", ("table", "symbol"))
SHARE = Figure("success_ratio", "ratio", "share")
MEASURED = [
    Measured(SIZE, ("a",), 10.0),
    Measured(SIZE, ("b",), 20.0),
    Measured(SHARE, (), 1 / 3),
    Measured(GROWTH, ("b",), 5.0),
    Measured(ROWS, ("a", "NQ"), 7.0),
]


def test_every_value_is_a_row_with_its_unit_and_meaning() -> None:
    table = figures_table(MEASURED)

    assert table.columns == ("figure", "subject", "value", "unit", "meaning")
    assert list(table.rows)[2:] == [
        ("success_ratio", "", 0.3333, "ratio", "share"),
        ("growth_bytes", "b", 5, "bytes", "growth"),
        ("stored_rows", "a NQ", 7, "", "rows"),
    ]


def test_figures_of_the_same_labels_stand_side_by_side() -> None:
    shown = [(table.columns, list(table.rows)) for table in figures_by_labels(MEASURED)]

    assert shown == [
        (("table", "symbol", "stored_rows"), [("a", "NQ", 7)]),
        (("table", "table_bytes", "growth_bytes"), [("a", 10, None), ("b", 20, 5)]),
        (("figure", "value", "meaning"), [("success_ratio", 0.3333, "share")]),
    ]


def test_prometheus_gets_each_figure_once_with_its_help_and_labels() -> None:
    odd = Measured(Figure("odd", "", "odd", ("symbol",)), ('a"b\\c\nd',), 1.0)

    assert exposition([*MEASURED[:3], odd]) == (
        "# HELP trisignal_odd odd\n"
        "# TYPE trisignal_odd gauge\n"
        'trisignal_odd{symbol="a\\"b\\\\c\\nd"} 1.0\n'
        "# HELP trisignal_success_ratio share\n"
        "# TYPE trisignal_success_ratio gauge\n"
        "trisignal_success_ratio 0.3333333333333333\n"
        "# HELP trisignal_table_bytes size of a table\n"
        "# TYPE trisignal_table_bytes gauge\n"
        'trisignal_table_bytes{table="a"} 10.0\n'
        'trisignal_table_bytes{table="b"} 20.0\n'
    )
