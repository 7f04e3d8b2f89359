"""Symbols: ours inside, Databento's only where bars come in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trisignal_pipeline.errors import SymbolError
from trisignal_pipeline.market.symbols import (
    InternalSymbol,
    Market,
    RollRule,
    parse_continuous,
    parse_internal,
    to_databento_continuous,
)

roots = st.from_regex(r"[A-Z0-9]{1,8}", fullmatch=True)


@pytest.mark.parametrize(
    ("symbol", "rule", "rank", "continuous"),
    [
        ("GLBX.MDP3:NQ", "v", 0, "NQ.v.0"),
        ("GLBX.MDP3:ES", "c", 1, "ES.c.1"),
        ("GLBX.MDP3:CL", "n", 12, "CL.n.12"),
        ("IFEU.IMPACT:BRN", "v", 0, "BRN.v.0"),
        ("GLBX.MDP3:6E", RollRule.VOLUME, 0, "6E.v.0"),
    ],
)
def test_a_market_has_a_continuous_symbol(
    symbol: str, rule: str, rank: int, continuous: str
) -> None:
    assert to_databento_continuous(symbol, rule, rank) == continuous


def test_the_lead_contract_by_volume_is_the_default() -> None:
    assert to_databento_continuous("GLBX.MDP3:NQ") == "NQ.v.0"


@pytest.mark.parametrize("symbol", ["NQ.v.0", "ES.c.1", "CL.n.12", "6E.v.0"])
def test_a_continuous_symbol_passes_through_whatever_the_rule(symbol: str) -> None:
    assert to_databento_continuous(symbol, "c", 7) == symbol


@pytest.mark.parametrize(
    "symbol",
    [
        "", " ", "NQ", "NQZ4", "NQ.FUT", "NQZ4-NQH5", "GLBX.MDP3", "GLBX.MDP3:", ":NQ", "GLBX:NQ",
        "glbx.mdp3:nq", "GLBX.MDP3:NQ ", " GLBX.MDP3:NQ", "GLBX.MDP3:NQ\n", "GLBX.MDP3:NQ.v.0",
        "GLBX.MDP3:NQ:ES", "GLBX.MDP3:NQZ4-NQH5", "GLBX.MDP3:TOOLONGROOT", "NQ.x.0", "NQ.v.",
        "nq.v.0", "NQ.v.-1", "NQ.v.0.0", "NQ.v.0\n", "NQ.V.0", "GLBX.MDP3:ΝQ", "NQ.v.٠",
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_an_example(symbol: str) -> None:
    with pytest.raises(SymbolError, match=r"write DATASET:ROOT, for instance GLBX.MDP3:NQ"):
        to_databento_continuous(symbol, "v", 0)


@pytest.mark.parametrize("rule", ["", "x", "V", "volume", "vc"])
def test_a_roll_rule_that_is_none_is_refused(rule: str) -> None:
    with pytest.raises(SymbolError, match=r"is not one of c, n, v \(symbol GLBX.MDP3:NQ\)"):
        to_databento_continuous("GLBX.MDP3:NQ", rule, 0)


@pytest.mark.parametrize("rank", [-1, True, 1.0, "0", None])
def test_a_rank_that_is_none_is_refused(rank: Any) -> None:
    with pytest.raises(SymbolError, match="is not a whole number from 0 up"):
        to_databento_continuous("GLBX.MDP3:NQ", "v", rank)


@given(roots, st.sampled_from(RollRule), st.integers(0, 999))
def test_what_is_made_is_a_continuous_symbol(root: str, rule: RollRule, rank: int) -> None:
    made = to_databento_continuous(f"GLBX.MDP3:{root}", rule, rank)

    assert parse_continuous(made) == (root, rule, rank)
    assert to_databento_continuous(made, rule, rank) == made


@given(st.from_regex(r"[A-Z0-9]+\.[A-Z0-9]+", fullmatch=True), roots)
def test_an_internal_symbol_is_its_two_parts(dataset: str, root: str) -> None:
    parsed = parse_internal(f"{dataset}:{root}")

    assert parsed == InternalSymbol(dataset, root)
    assert str(parsed) == f"{dataset}:{root}"


@given(st.text())
def test_no_text_breaks_the_parsers(text: str) -> None:
    assert parse_continuous(text) is None or text.count(".") == 2
    try:
        assert str(parse_internal(text)) == text
    except SymbolError as error:
        assert repr(text) in str(error)  # noqa: PT017 either outcome is right


def test_a_market_knows_its_continuous_symbol() -> None:
    market = Market(parse_internal("GLBX.MDP3:ES"), RollRule.CALENDAR, 1)

    assert market.continuous == "ES.c.1"
