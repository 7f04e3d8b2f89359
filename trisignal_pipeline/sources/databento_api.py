"""Databento's historical API, through the official client: what there is, what it costs, the data.

What goes wrong is told in errors of ours: those that may pass, and those that won't. The key is in
nothing that leaves this file, not even where an answer quotes it.
"""

from __future__ import annotations

import base64
import random
import ssl
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from databento_dbn import DBNError
from zstandard import ZstdError

from trisignal_pipeline.errors import (
    ApiRefusedError,
    ApiUnavailableError,
    ConfigurationError,
    WrongDeliveryError,
)
from trisignal_pipeline.market.conditions import DayCondition
from trisignal_pipeline.market.dates import DateRange
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.sources.batch_job import condition_of
from trisignal_pipeline.sources.records import SCHEMA

if TYPE_CHECKING:
    from databento import Historical

STYPE_IN = "continuous"

MOST_ATTEMPTS = 5
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 300.0
"""Beyond what the API may ask for before trying again, a run had better end and say so."""

TIMEOUT_SECONDS = 100.0
MOST_ERROR_CHARACTERS = 500

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Order:
    """1-minute bars of one continuous symbol (`NQ.v.0`) on whole UTC dates."""

    dataset: str
    symbol: str
    dates: DateRange

    def __str__(self) -> str:
        return f"{self.dataset} {self.symbol} {self.dates}"


@dataclass(frozen=True)
class DatabentoApi:
    """The API as one key sees it.

    timeout_seconds   how long it may stay silent, to be connected to and between two pieces
    wait              waits so many seconds before another attempt
    """

    key: str = field(repr=False)
    gateway: str
    timeout_seconds: float = TIMEOUT_SECONDS
    wait: Callable[[float], None] = field(default=time.sleep, repr=False)

    @classmethod
    def for_settings(cls, settings: Settings) -> DatabentoApi:
        """The API that `settings` name.

        Raises:
            ConfigurationError: they have no key.
        """
        if settings.api_key is None:
            raise ConfigurationError(
                "DATABENTO_API_KEY is not set, so nothing can be bought; set it to a key of "
                "databento.com/portal/keys"
            )
        return cls(settings.api_key, settings.api_gateway)

    def available(self, dataset: str) -> DateRange | None:
        """The UTC dates of which the key may have all 1-minute bars; None if there are none.

        A last day that isn't over at the vendor is left out.
        """
        return self._ask(
            f"the range of {dataset}",
            lambda: self._client.metadata.get_dataset_range(dataset),
            _whole_dates,
        )

    def conditions(self, dataset: str, dates: DateRange) -> list[DayCondition]:
        """What the vendor says of each of `dates`; a day it says nothing of is left out."""
        days = self._ask(
            f"the condition of {dataset}",
            lambda: self._client.metadata.get_dataset_condition(dataset, dates.start, dates.end),
            _conditions,
        )
        return [one for one in days if one.day in dates]

    def cost(self, order: Order) -> Decimal:
        """What one download of `order` costs, in US dollars."""
        return self._ask(
            f"the cost of {order}",
            lambda: self._client.metadata.get_cost(**_query(order)),
            _dollars,
        )

    def download(self, order: Order, path: Path) -> None:
        """Download `order` into a new file at `path`. One attempt: each one is billed.

        What was written is whatever came, to be verified; on an error it may be a part.

        Raises:
            ApiUnavailableError, ApiRefusedError, ConfigurationError: as they say.
        """
        what = f"the bars of {order}"
        from databento import BentoError, BentoHttpError  # noqa: PLC0415

        def download() -> None:
            try:
                self._client.timeseries.get_range(**_query(order), path=path)
            except BentoHttpError:
                raise
            except (BentoError, DBNError, ZstdError, ValueError) as error:
                traceback.clear_frames(error.__traceback__)
                # Of a complete file that it can't read the client says less than its verification
                # here. A broken stream it reports in words of its own, and hides the cause.
                if error.__suppress_context__ and error.__context__ is not None:
                    self._raise_for_break(what, error.__context__)

        with warnings.catch_warnings():
            # The client never closes the file that it wrote.
            warnings.simplefilter("ignore", ResourceWarning)
            self._translated(what, download)

    def patiently(self, attempt: Callable[[], Answer]) -> Answer:
        """What `attempt` returns, tried again with growing pauses while the API is unavailable.

        Raises:
            ApiUnavailableError: it still was at the last attempt, or asks for too long a pause.
        """
        for number in range(MOST_ATTEMPTS - 1):
            try:
                return attempt()
            except ApiUnavailableError as error:
                asked = error.retry_after_seconds or 0.0
                if asked > LONGEST_WAIT_SECONDS:
                    raise
                # Shorter for some and longer for others, so that many don't come back at once.
                pause = FIRST_WAIT_SECONDS * 2**number * random.uniform(0.5, 1.5)  # noqa: S311
                self.wait(max(pause, asked))
        return attempt()

    def masked(self, text: str) -> str:
        """`text` in one line, bounded, without the key in any form it is sent in."""
        credentials = base64.b64encode(f"{self.key}:".encode()).decode()
        for secret in (self.key, credentials, credentials.rstrip("=")):
            text = text.replace(secret, "***")
        return " ".join(text.split())[:MOST_ERROR_CHARACTERS]

    @cached_property
    def _client(self) -> Historical:
        # Takes more than a second to import, and most runs buy nothing.
        from databento import Historical  # noqa: PLC0415

        client = Historical(self.key, gateway=self.gateway)
        for part in (client.metadata, client.timeseries):
            # The client takes the class's number; an instance of its own may have another.
            part.TIMEOUT = self.timeout_seconds  # type: ignore[assignment]
        return client

    def _ask(
        self, what: str, question: Callable[[], Any], understand: Callable[[Any], Answer]
    ) -> Answer:
        """What `understand` makes of the answer to `question`, which is free and may be repeated.

        Raises:
            WrongDeliveryError: the answer has another shape than the documented one.
        """

        def asked() -> Answer:
            try:
                return understand(question())
            except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
                raise WrongDeliveryError(
                    f"asked for {what}, {self.gateway} gave an answer that can't be understood; "
                    "check TRISIGNAL_DATABENTO_GATEWAY, whether a proxy stands in between, and the "
                    "version of the databento package"
                ) from None

        return self.patiently(lambda: self._translated(what, asked))

    def _translated(self, what: str, call: Callable[[], Answer]) -> Answer:
        """What `call` returns; the client's errors as ours, without a cause that may hold a key."""
        from databento import BentoHttpError  # noqa: PLC0415
        from requests import RequestException  # noqa: PLC0415

        try:
            return call()
        except BentoHttpError as error:
            self._raise_for_status(what, error.http_status, str(error), error.headers)
        except RequestException as error:
            self._raise_for_connection(what, error)

    def _raise_for_status(self, what: str, status: int, text: str, headers: Any) -> NoReturn:
        said = f"asked for {what}, the Databento API answered: {self.masked(text)}"
        if status in (408, 429) or status >= 500:
            raise ApiUnavailableError(
                f"{said}; run the same again later",
                retry_after_seconds=_seconds(headers.get("Retry-After")),
                is_free=True,
            ) from None
        if status in (401, 403):
            raise ApiRefusedError(
                f"{said}; check DATABENTO_API_KEY, and what the key's account may have"
            ) from None
        raise ApiRefusedError(f"{said}; check the symbol's registry row and the dates") from None

    def _raise_for_break(self, what: str, cause: BaseException) -> NoReturn:
        from requests import RequestException  # noqa: PLC0415

        if isinstance(cause, OSError) and not isinstance(cause, RequestException):
            raise ConfigurationError(
                f"{what} can't be written ({cause.strerror}); make room for them"
            ) from None
        self._raise_for_connection(what, cause)

    def _raise_for_connection(self, what: str, error: BaseException) -> NoReturn:
        asked, quoted = f"asked for {what}, {self.gateway}", self.masked(str(error))
        if _is_caused_by(error, ssl.SSLCertVerificationError):
            raise ConfigurationError(
                f"{asked} shows a certificate that can't be verified ({quoted}); name the "
                "authority that signed it in REQUESTS_CA_BUNDLE"
            ) from None
        raise ApiUnavailableError(
            f"{asked} could not be reached, stayed silent or broke off ({quoted}); run the same "
            "again later"
        ) from None


def _query(order: Order) -> dict[str, Any]:
    return {
        "dataset": order.dataset,
        "symbols": [order.symbol],
        "schema": SCHEMA,
        "stype_in": STYPE_IN,
        "start": order.dates.start,
        "end": order.dates.end + timedelta(days=1),
    }


def _whole_dates(answer: Any) -> DateRange | None:
    span = answer.get("schema", {}).get(SCHEMA, answer)
    start, end = _moment(span["start"]), _moment(span["end"])
    first = (start + timedelta(days=1, microseconds=-1)).date()
    last = end.date() - timedelta(days=1)
    return None if last < first else DateRange(first, last)


def _conditions(answer: Any) -> list[DayCondition]:
    return [condition_of(entry) for entry in answer]


def _dollars(answer: Any) -> Decimal:
    cost = Decimal(str(answer))
    if isinstance(answer, bool) or not cost.is_finite() or cost < 0:
        raise ValueError
    return cost


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _seconds(retry_after: str | None) -> float | None:
    """The pause that a Retry-After header asks for; None if it names a date, or nothing."""
    return float(retry_after) if retry_after and retry_after.isdecimal() else None


def _is_caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    """Whether one of the errors that led to `error` is of `kind`."""
    while error is not None:
        reason = error.args[0] if error.args else None
        if isinstance(error, kind) or isinstance(getattr(reason, "reason", None), kind):
            return True
        error = error.__cause__ or error.__context__
    return False
