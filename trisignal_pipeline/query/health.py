"""Figures of the pipeline's health as tables, and as lines that Prometheus reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from trisignal_pipeline.query.tables import NUMBER, TEXT, Table
from trisignal_pipeline.storage.figures import Figure, Measured

_DIGITS = 4


def figures_table(measured: Iterable[Measured]) -> Table:
    """One row a value: the figure, what it is of, the value, its unit and what it says."""
    return Table.of_rows(
        {"figure": TEXT, "subject": TEXT, "value": NUMBER, "unit": TEXT, "meaning": TEXT},
        (
            (one.figure.name, one.subject, _number(one), one.figure.unit, one.figure.help)
            for one in measured
        ),
    )


def figures_by_labels(measured: Sequence[Measured]) -> Iterator[Table]:
    """The same for people: a table for all figures of the same labels, a column for each of them.

    Figures of the whole database come last, a row each.
    """
    kinds = dict.fromkeys(one.figure.labels for one in measured)
    for labels in sorted(kinds, key=len, reverse=True):
        of_kind = [one for one in measured if one.figure.labels == labels]
        if not labels:
            rows = [(one.figure.name, _number(one), one.figure.help) for one in of_kind]
            yield Table.of_rows({"figure": TEXT, "value": NUMBER, "meaning": TEXT}, rows)
            continue
        names = tuple(dict.fromkeys(one.figure.name for one in of_kind))
        values: dict[tuple[str, ...], dict[str, int | float]] = {}
        for one in of_kind:
            values.setdefault(one.labels, {})[one.figure.name] = _number(one)
        rows_of = (
            (*subject, *(found.get(name) for name in names)) for subject, found in values.items()
        )
        columns = dict.fromkeys(labels, TEXT) | dict.fromkeys(names, NUMBER)
        yield Table.of_rows(columns, rows_of)


def exposition(measured: Iterable[Measured]) -> str:
    """The figures in Prometheus' text format, under names that begin with `trisignal_`."""
    lines: list[str] = []
    by_name = sorted(measured, key=lambda one: one.figure.name)
    for name, values in groupby(by_name, key=lambda one: one.figure.name):
        of_figure = list(values)
        figure: Figure = of_figure[0].figure
        lines += [f"# HELP trisignal_{name} {figure.help}", f"# TYPE trisignal_{name} gauge"]
        lines += [f"trisignal_{name}{_labels(one)} {one.value!r}" for one in of_figure]
    return "".join(f"{line}\n" for line in lines)


def _labels(one: Measured) -> str:
    pairs = zip(one.figure.labels, one.labels, strict=True)
    text = ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs)
    return f"{{{text}}}" if text else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(one: Measured) -> int | float:
    return int(one.value) if one.value == int(one.value) else round(one.value, _DIGITS)
