"""Having the next piece ready when the one at hand is done."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Piece = TypeVar("Piece")


@contextmanager
def ahead(pieces: Generator[Piece]) -> Iterator[Iterator[Piece]]:
    """`pieces`, of which one is made by another thread while the one before it is worked on.

    Waiting for a server and working with columns both leave the interpreter to others: while one
    year is written, the next one is decoded and screened. Memory holds two pieces. What goes wrong
    in making a piece is raised where that piece is asked for.
    """
    made_all = object()
    try:
        with ThreadPoolExecutor(1, "ahead") as maker:

            def in_turn() -> Iterator[Piece]:
                coming = maker.submit(next, pieces, made_all)
                while (piece := coming.result()) is not made_all:
                    coming = maker.submit(next, pieces, made_all)
                    yield piece  # type: ignore[misc]  # not the mark of the end

            yield in_turn()
    finally:
        pieces.close()
