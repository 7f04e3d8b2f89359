"""Settings, all of them from the environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from trisignal_pipeline.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are.

    database_url  a PostgreSQL server of one's own; None means the embedded one. Never printed:
                  it may hold a password.
    home          what the product keeps for itself: the embedded server, compiled code, sockets
    raw_dir       where DBN files lie
    """

    home: Path
    raw_dir: Path
    database_url: str | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read `TRISIGNAL_DATABASE_URL`, `TRISIGNAL_HOME` and `TRISIGNAL_RAW_DIR`.

        Raises:
            ConfigurationError: the URL is not one of PostgreSQL.
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
                "(@ is %40, / is %2F, # is %23, ? is %3F; its value is not shown)"
            )
        return cls(
            home=Path(environment.get("TRISIGNAL_HOME") or ".trisignal").absolute(),
            raw_dir=Path(environment.get("TRISIGNAL_RAW_DIR") or "data/raw").absolute(),
            database_url=url,
        )


def _is_well_formed(url: str) -> bool:
    """Whether it is plain where the password ends; else parts of it would pass for other things."""
    after_scheme = url.partition("://")[2]
    authority = re.split(r"[/?#]", after_scheme, maxsplit=1)[0]
    return authority.count("@") <= 1 and "@" not in after_scheme[len(authority) :].partition("?")[0]


def project_file(name: str) -> Path:
    """A file or folder that lies at the project's root (`database`, `dagster.yaml`).

    In an installed wheel the same tree lies inside the package.
    """
    package = Path(__file__).parent
    packaged = package / "_project" / name
    return packaged if packaged.exists() else package.parent / name
