"""Settings, all of them from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trisignal_pipeline.errors import ConfigurationError

DEFAULT_API_DIR = "data/databento_api"
DEFAULT_API_GATEWAY = "https://hist.databento.com"
DEFAULT_STATEMENT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are.

    database_url  a PostgreSQL server of one's own; None means the embedded one. Never printed:
                  it may hold a password.
    home          what the product keeps for itself: the embedded server, compiled code, sockets
    raw_dir       where DBN files lie
    api_dir       where files lie that were bought for clean bars alone; legacy bars never read it
    api_gateway   where Databento's API is: an https URL
    api_key       Databento's key; None means that nothing can be bought. Never printed.
    statement_seconds   how long one statement of a question may take; 0 is no limit
    """

    home: Path
    raw_dir: Path
    database_url: str | None = field(default=None, repr=False)
    api_dir: Path = field(default_factory=lambda: Path(DEFAULT_API_DIR).absolute())
    api_gateway: str = DEFAULT_API_GATEWAY
    api_key: str | None = field(default=None, repr=False)
    statement_seconds: float = DEFAULT_STATEMENT_SECONDS

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read what `environment` says; an empty variable counts as one that is not set.

        Raises:
            ConfigurationError: the URL is not one of PostgreSQL, the gateway not one of https, the
                key can't be a key, the limit on statements is no time, or one folder of files lies
                in the other.
        """
        url = environment.get("TRISIGNAL_DATABASE_URL") or None
        if url is not None and not url.startswith(("postgresql://", "postgres://")):
            raise ConfigurationError(
                "TRISIGNAL_DATABASE_URL must start with postgresql:// (its value is not shown: "
                "it may hold a password); leave it unset for the embedded server"
            )
        if url is not None and not _is_well_formed(url):
            raise ConfigurationError(
                "TRISIGNAL_DATABASE_URL can't be read: percent-encode what stands in its password "
                "(@ is %40, / is %2F, # is %23, ? is %3F, a blank is %20; its value is not shown)"
            )
        raw_dir = Path(environment.get("TRISIGNAL_RAW_DIR") or "data/raw").absolute()
        api_dir = Path(environment.get("TRISIGNAL_API_DIR") or DEFAULT_API_DIR).absolute()
        _require_apart(raw_dir.resolve(), api_dir.resolve())
        return cls(
            home=Path(environment.get("TRISIGNAL_HOME") or ".trisignal").absolute(),
            raw_dir=raw_dir,
            database_url=url,
            api_dir=api_dir,
            api_gateway=_gateway(environment.get("TRISIGNAL_DATABENTO_GATEWAY")),
            api_key=_key(environment.get("DATABENTO_API_KEY")),
            statement_seconds=_statement_seconds(environment.get("TRISIGNAL_STATEMENT_SECONDS")),
        )


def _is_well_formed(url: str) -> bool:
    """Whether it is plain where the password ends; else parts of it would pass for other things."""
    if re.search(r"\s", url):
        return False
    after_scheme = url.partition("://")[2]
    authority = re.split(r"[/?#]", after_scheme, maxsplit=1)[0]
    return authority.count("@") <= 1 and "@" not in after_scheme[len(authority) :].partition("?")[0]


def _require_apart(raw_dir: Path, api_dir: Path) -> None:
    if raw_dir.is_relative_to(api_dir) or api_dir.is_relative_to(raw_dir):
        raise ConfigurationError(
            f"TRISIGNAL_API_DIR ({api_dir}) and TRISIGNAL_RAW_DIR ({raw_dir}) must not lie in each "
            "other: legacy bars are made from all of the latter, and from nothing of the former"
        )


def _gateway(url: str | None) -> str:
    if not url:
        return DEFAULT_API_GATEWAY
    if not re.fullmatch(r"https://[^\s/?#@]+", url):
        raise ConfigurationError(
            "TRISIGNAL_DATABENTO_GATEWAY must be of the form https://host or https://host:port: "
            "the key is sent to it"
        )
    return url


def _statement_seconds(seconds: str | None) -> float:
    if not seconds:
        return DEFAULT_STATEMENT_SECONDS
    if not re.fullmatch(r"\d{1,6}(\.\d+)?", seconds, re.ASCII):
        raise ConfigurationError(
            f"TRISIGNAL_STATEMENT_SECONDS is {seconds!r}; write how many seconds a question to the "
            "database may take, for instance 60, or 0 for no limit"
        )
    return float(seconds)


def _key(key: str | None) -> str | None:
    stripped = (key or "").strip()
    if not re.fullmatch(r"[!-~]*", stripped):
        raise ConfigurationError(
            "DATABENTO_API_KEY holds blanks or characters that no key has (its value is not "
            "shown); copy it again from databento.com/portal/keys"
        )
    return stripped or None


def project_file(name: str) -> Path:
    """A file or folder that lies at the project's root (`database`, `dagster.yaml`).

    In an installed wheel the same tree lies inside the package.
    """
    package = Path(__file__).parent
    packaged = package / "_project" / name
    return packaged if packaged.exists() else package.parent / name
