"""The offset of a back-adjusted chart, found from the prices."""

from __future__ import annotations

import numpy as np

from trisignal_pipeline.market.bars import Bars, concatenate
from trisignal_pipeline.query.price_offsets import SEVERAL, contract_stretches, price_offsets
from trisignal_pipeline_tests.query.stored_market import utc_ns
from trisignal_pipeline_tests.signal.generated_bars import bars_of


def test_an_offset_is_what_most_prices_have_or_none() -> None:
    stored = np.full((4, 5), 100)
    chart = stored + np.array([7, 7, 7, 9, 0])
    several = np.array([0, 0, 0, 0, 0])
    assert price_offsets(chart, stored, several, ["NQZ4"])[0].offset == 7
    chart = stored + np.array([7, 7, 1, 2, 3])
    found = price_offsets(chart, stored, several, ["NQZ4"])[0]
    assert (found.offset, found.bars, found.agreeing) == (0, 5, 0)
    assert price_offsets(chart, stored, np.full(5, SEVERAL), ["NQZ4"]) == {}


def test_of_two_offsets_equally_common_none_is_taken() -> None:
    chart = np.full((4, 2), 100) + np.array([5, -5])
    assert price_offsets(chart, np.full((4, 2), 100), np.array([0, 0]), ["NQZ4"])[0].offset == 0


def of_contract(name: str, *minutes: str) -> Bars:
    made = bars_of([(utc_ns(text), 1, 1, 1, 1) for text in minutes])
    return Bars(
        made.ts, made.open, made.high, made.low, made.close, made.volume, made.contract, (name,)
    )


def test_a_symbol_that_comes_round_after_ten_years_is_another_contract() -> None:
    stretches = contract_stretches(
        concatenate(
            [
                of_contract("NQZ4", "2014-12-01 00:00", "2014-12-02 00:00"),
                of_contract("NQH5", "2014-12-20 00:00"),
                of_contract("NQZ4", "2024-12-01 00:00"),
            ]
        )
    )
    assert [stretches.names[code] for code in stretches.code] == ["NQZ4", "NQZ4", "NQH5", "NQZ4"]
    assert len(set(stretches.code.tolist())) == 3
    first, after = np.array([0, 0, 1, 3]), np.array([2, 3, 3, 4])
    codes = stretches.code
    assert stretches.of_bars(first, after).tolist() == [codes[0], SEVERAL, SEVERAL, codes[3]]
