"""The official client against a server that answers well, badly, late, broken or not at all."""

from __future__ import annotations

import json
import traceback
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from databento.common import http

from trisignal_pipeline.errors import (
    ApiRefusedError,
    ApiUnavailableError,
    ConfigurationError,
    WrongDeliveryError,
)
from trisignal_pipeline.market.conditions import DayCondition
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.sources.databento_api import (
    LONGEST_WAIT_SECONDS,
    MOST_ATTEMPTS,
    DatabentoApi,
    Order,
)
from trisignal_pipeline.sources.dbn_file import DbnFile, inspect
from trisignal_pipeline_tests.sources.databento_server import (
    BARS,
    CONDITION,
    COST,
    KEY,
    RANGE,
    Answer,
    DatabentoServer,
    error,
)

TUESDAY, THURSDAY = date(2024, 6, 25), date(2024, 6, 27)
ORDER = Order("GLBX.MDP3", "NQ.v.0", DateRange(TUESDAY, THURSDAY))

BUSY = error(503, "unavailable", "Try later.")
BAD_KEY = error(401, "auth_invalid_api_key", f"The API key {KEY} is invalid.")


@dataclass
class Pauses:
    """Notes the pauses that were to be made, and makes none."""

    seconds: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


@pytest.fixture
def api(databento: DatabentoServer, pauses: Pauses) -> DatabentoApi:
    settings = Settings.from_environment()
    return replace(DatabentoApi.for_settings(settings), wait=pauses)


def test_tells_which_dates_are_whole(api: DatabentoApi, databento: DatabentoServer) -> None:
    assert api.available("GLBX.MDP3") == databento.available

    body = b'{"start": "2010-06-06", "end": "2024-12-31T14:30:00.123456789Z"}'
    databento.will(RANGE, Answer(body=body))
    assert api.available("GLBX.MDP3") == DateRange(date(2010, 6, 6), date(2024, 12, 30))

    body = b'{"start": "2024-12-31T00:00:00Z", "end": "2024-12-31T14:30:00Z"}'
    databento.will(RANGE, Answer(body=body))
    assert api.available("GLBX.MDP3") is None


def test_tells_the_condition_of_days(api: DatabentoApi, databento: DatabentoServer) -> None:
    databento.conditions[THURSDAY] = "degraded"

    found = api.conditions("GLBX.MDP3", ORDER.dates)

    assert [(day.day, day.condition) for day in found] == [
        (TUESDAY, "available"),
        (date(2024, 6, 26), "available"),
        (THURSDAY, "degraded"),
    ]
    body = b'[{"date": "2024-06-25", "condition": "missing", "last_modified_date": null}]'
    databento.will(CONDITION, Answer(body=body))
    assert api.conditions("GLBX.MDP3", ORDER.dates) == [DayCondition(TUESDAY, "missing")]


def test_asks_the_price_of_the_very_download(api: DatabentoApi, databento: DatabentoServer) -> None:
    assert api.cost(ORDER) == Decimal("0.375")

    api.download(ORDER, databento.authority.with_name("bought.dbn.zst"))

    (_, of_cost), (_, of_bars) = databento.asked
    assert (
        of_bars.items()
        >= {
            "dataset": "GLBX.MDP3",
            "symbols": "NQ.v.0",
            "schema": "ohlcv-1m",
            "stype_in": "continuous",
            "start": "2024-06-25",
            "end": "2024-06-28",
        }.items()
    )
    assert of_cost.items() <= of_bars.items()


def test_a_download_is_a_file_that_can_be_verified(api: DatabentoApi, tmp_path: Path) -> None:
    api.download(ORDER, tmp_path / "bought.dbn.zst")

    file = inspect(tmp_path / "bought.dbn.zst")
    assert isinstance(file, DbnFile)
    assert file.symbols == ("NQ.v.0",)
    assert (file.start_ns, file.end_ns) == (ORDER.dates.start_ns, ORDER.dates.end_ns)


@pytest.mark.parametrize(
    "passing",
    [
        BUSY,
        error(500, "internal", "Oops."),
        Answer(504, "no JSON of the API's"),
        error(408, "timeout", "Too slow."),
        error(429, "rate_limit", "Too many."),
        Answer(breaks_at=0.5),
        Answer(breaks_at=0),
    ],
    ids=["503", "500", "504", "408", "429", "cut", "hung up"],
)
def test_what_may_pass_is_tried_again(
    api: DatabentoApi, databento: DatabentoServer, pauses: Pauses, passing: Answer
) -> None:
    databento.will(COST, passing, passing)

    assert api.cost(ORDER) == Decimal("0.375")

    assert databento.count(COST) == 3
    first, second = pauses.seconds
    assert 0.5 <= first <= 1.5
    assert 1 <= second <= 3


def test_the_pause_asked_for_is_made(
    api: DatabentoApi, databento: DatabentoServer, pauses: Pauses
) -> None:
    databento.will(COST, error(429, "rate_limit", "Too many.", **{"Retry-After": "17"}))

    api.cost(ORDER)

    assert pauses.seconds == [17]


def test_too_long_a_pause_is_left_to_the_user(
    api: DatabentoApi, databento: DatabentoServer, pauses: Pauses
) -> None:
    pause = str(int(LONGEST_WAIT_SECONDS) + 1)
    databento.will(COST, error(429, "rate_limit", "Too many.", **{"Retry-After": pause}))

    with pytest.raises(ApiUnavailableError, match="Too many"):
        api.cost(ORDER)

    assert not pauses.seconds


def test_attempts_are_bounded(
    api: DatabentoApi, databento: DatabentoServer, pauses: Pauses
) -> None:
    databento.will(COST, *[BUSY] * 99)

    with pytest.raises(ApiUnavailableError, match="503 unavailable"):
        api.cost(ORDER)

    assert databento.count(COST) == MOST_ATTEMPTS
    assert len(pauses.seconds) == MOST_ATTEMPTS - 1


def test_nobody_listening_may_pass(api: DatabentoApi, pauses: Pauses) -> None:
    with pytest.raises(ApiUnavailableError, match="could not be reached"):
        replace(api, gateway="https://localhost:1").cost(ORDER)

    assert len(pauses.seconds) == MOST_ATTEMPTS - 1


def test_silence_may_pass(api: DatabentoApi, databento: DatabentoServer, pauses: Pauses) -> None:
    databento.will(COST, Answer(stalls_at=0.5))

    assert replace(api, timeout_seconds=0.2).cost(ORDER) == Decimal("0.375")

    assert len(pauses.seconds) == 1


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        (BAD_KEY, "check DATABENTO_API_KEY"),
        (error(403, "auth_no_entitlement", "Not yours."), "check DATABENTO_API_KEY"),
        (error(422, "symbology_invalid_symbol", "Unknown symbol."), "registry row"),
        (error(404, "not_found", "No such dataset."), "registry row"),
        (Answer(400, "plain words"), "registry row"),
    ],
    ids=["401", "403", "422", "404", "400"],
)
def test_a_no_is_final(
    api: DatabentoApi, databento: DatabentoServer, pauses: Pauses, refusal: Answer, advice: str
) -> None:
    databento.will(COST, refusal)

    with pytest.raises(ApiRefusedError, match=advice):
        api.cost(ORDER)

    assert databento.count(COST) == 1
    assert not pauses.seconds


@pytest.mark.parametrize(
    "body",
    [b"<html>Sign in to the hotel's network</html>", b"{}", b"null", b"[]", b'{"start": 7}', b""],
)
def test_an_answer_of_another_shape_is_told_apart(
    api: DatabentoApi, databento: DatabentoServer, body: bytes
) -> None:
    databento.will(RANGE, Answer(body=body))

    with pytest.raises(WrongDeliveryError, match="can't be understood"):
        api.available("GLBX.MDP3")


@pytest.mark.parametrize("told", ["", "a b", 7, None, "x" * 101])
def test_a_condition_that_a_job_could_not_hold_is_none(
    api: DatabentoApi, databento: DatabentoServer, told: object
) -> None:
    day = {"date": "2024-06-24", "condition": told, "last_modified_date": None}
    databento.will(CONDITION, Answer(body=json.dumps([day]).encode()))

    with pytest.raises(WrongDeliveryError, match="can't be understood"):
        api.conditions("GLBX.MDP3", DateRange(date(2024, 6, 24), date(2024, 6, 24)))


@pytest.mark.parametrize("body", [b"NaN", b"-1", b"Infinity", b"true", b'"free"', b"[1]", b"null"])
def test_a_price_is_a_price(api: DatabentoApi, databento: DatabentoServer, body: bytes) -> None:
    databento.will(COST, Answer(body=body))

    with pytest.raises(WrongDeliveryError):
        api.cost(ORDER)


@pytest.mark.parametrize(
    "broken",
    [BUSY, Answer(breaks_at=0.5), Answer(stalls_at=0.5)],
    ids=["busy", "cut", "silent"],
)
def test_a_download_is_one_attempt(
    api: DatabentoApi, databento: DatabentoServer, pauses: Pauses, tmp_path: Path, broken: Answer
) -> None:
    databento.will(BARS, broken)

    with pytest.raises(ApiUnavailableError):
        replace(api, timeout_seconds=0.2).download(ORDER, tmp_path / "bought.dbn.zst")

    assert databento.count(BARS) == 1
    assert not pauses.seconds


def test_a_full_disk_is_no_fault_of_the_api(
    api: DatabentoApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = Path("/dev/full")
    monkeypatch.setattr(http, "open", lambda *_: full.open("wb"), raising=False)

    with pytest.raises(ConfigurationError, match="No space left on device"):
        api.download(ORDER, tmp_path / "bought.dbn.zst")


@pytest.mark.parametrize("body", [b"<html></html>", b"", b"DBN\x03", b"\x28\xb5\x2f\xfd junk"])
def test_what_the_client_cannot_read_is_left_to_the_verification(
    api: DatabentoApi, databento: DatabentoServer, tmp_path: Path, body: bytes
) -> None:
    databento.will(BARS, Answer(body=body))

    api.download(ORDER, tmp_path / "bought.dbn.zst")

    assert (tmp_path / "bought.dbn.zst").read_bytes() == body


def test_an_unknown_authority_is_named(
    databento: DatabentoServer, monkeypatch: pytest.MonkeyPatch, pauses: Pauses
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")

    with pytest.raises(ConfigurationError, match="REQUESTS_CA_BUNDLE"):
        DatabentoApi(KEY, databento.gateway, wait=pauses).cost(ORDER)

    assert not pauses.seconds


def test_without_a_key_nothing_is_asked() -> None:
    with pytest.raises(ConfigurationError, match="DATABENTO_API_KEY is not set"):
        DatabentoApi.for_settings(Settings(Path("/home"), Path("/raw")))


def test_the_key_is_in_no_error_and_no_repr(api: DatabentoApi, databento: DatabentoServer) -> None:
    databento.will(COST, BAD_KEY)

    with pytest.raises(ApiRefusedError) as refusal:
        api.cost(ORDER)

    told = "".join(traceback.format_exception(refusal.value))
    assert "The API key *** is invalid" in told
    assert KEY not in told + repr(api) + repr(Settings.from_environment())
