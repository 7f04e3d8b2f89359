"""Where Dagster keeps its own runs, events and schedules: a database beside that of the bars.

Three ways, in this order: the one that `TRISIGNAL_DAGSTER_DATABASE_URL` names; on a server of
one's own (`TRISIGNAL_DATABASE_URL`) the database of the same name with `_dagster` appended, made
if it isn't there; else the database `dagster` of the embedded server, which is started.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline.storage.embedded import running_server

URL_VARIABLE = "TRISIGNAL_DAGSTER_DATABASE_URL"


def dagster_database_url(settings: Settings, environment: Mapping[str, str] = os.environ) -> str:
    """The URL of Dagster's database, of the form `postgresql+psycopg2://`; the server runs.

    The driver is named because SQLAlchemy 2.1 takes psycopg 3 for plain `postgresql://`, with
    which `dagster-postgres` fails at its first NOTIFY. The URL may hold a password.

    Raises:
        ConfigurationError: a URL that isn't one, or a database that the role may not create.
        DatabaseUnavailableError: the server of one's own can't be reached.
        EmbeddedServerError: the embedded server can't be set up on this machine.
    """
    named = environment.get(URL_VARIABLE)
    if named:
        return _for_dagster(_parsed(named, URL_VARIABLE))
    if settings.database_url is not None:
        bars = _parsed(settings.database_url, "TRISIGNAL_DATABASE_URL")
        if not bars.database:
            raise ConfigurationError(
                "TRISIGNAL_DATABASE_URL names no database; append one: postgresql://host/database"
            )
        beside = f"{bars.database}_dagster"
        _create_if_absent(settings.database_url, beside)
        return _for_dagster(bars.set(database=beside))
    return _for_dagster(make_url(running_server(settings.home).url("dagster")))


def _parsed(url: str, variable: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The cause is left out: it may quote the URL, password and all.
        raise ConfigurationError(
            f"{variable} is not a URL; write postgresql://user:password@host:5432/database "
            "(its value is not shown: it may hold a password)"
        ) from None
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigurationError(f"{variable} must start with postgresql://")
    return parsed


def _for_dagster(url: URL) -> str:
    return url.set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)


def _create_if_absent(server_url: str, name: str) -> None:
    with Database(server_url, role=None).connect("dagster database", autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if known.fetchone() is not None:
            return
        try:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            return  # another process that starts at the same moment made it
        except psycopg.errors.InsufficientPrivilege as error:
            raise ConfigurationError(
                f"Dagster needs the database {name}, and the role of TRISIGNAL_DATABASE_URL may "
                f"not create it; have it created, or name another one in {URL_VARIABLE}"
            ) from error
