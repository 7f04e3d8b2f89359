"""Settings, all of them from the environment."""

from __future__ import annotations

import os
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
        return cls(
            home=Path(environment.get("TRISIGNAL_HOME") or ".trisignal").absolute(),
            raw_dir=Path(environment.get("TRISIGNAL_RAW_DIR") or "data/raw").absolute(),
            database_url=url,
        )


def project_file(name: str) -> Path:
    """A file or folder that lies at the project's root (`database`, `dagster.yaml`).

    In an installed wheel the same tree lies inside the package.
    """
    package = Path(__file__).parent
    packaged = package / "_project" / name
    return packaged if packaged.exists() else package.parent / name
