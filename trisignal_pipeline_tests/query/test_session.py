"""Sessions for questions: they only read, and no statement goes on for ever."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from trisignal_pipeline.errors import ConfigurationError, StatementTooLongError
from trisignal_pipeline.query.session import questions
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.connection import Database, scalar
from trisignal_pipeline_tests.storage.stored_bars import by_hand


def settings(database: Database, home: Path, seconds: float = 60) -> Settings:
    return Settings(home, home / "raw", database.url, statement_seconds=seconds)


def test_a_question_is_asked_by_the_reader_at_one_instant(
    database: Database, tmp_path: Path
) -> None:
    with questions(settings(database, tmp_path), "test") as connection:
        before = scalar(connection, "SELECT count(*) FROM symbol_registry")
        by_hand(database.url, "DELETE FROM symbol_registry WHERE root = 'YM'")

        assert scalar(connection, "SELECT count(*) FROM symbol_registry") == before
        assert scalar(connection, "SELECT current_user") == "trisignal_reader"
        assert scalar(connection, "SHOW transaction_read_only") == "on"
        assert scalar(connection, "SHOW statement_timeout") == "1min"
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("DELETE FROM symbol_registry")


def test_a_statement_that_takes_too_long_is_given_up_with_the_remedy(
    database: Database, tmp_path: Path
) -> None:
    with (
        pytest.raises(StatementTooLongError, match=r"0\.1 s.*TRISIGNAL_STATEMENT_SECONDS"),
        questions(settings(database, tmp_path, 0.1), "test") as connection,
    ):
        connection.execute("SELECT pg_sleep(30)")


def test_no_limit_is_a_limit_of_zero(database: Database, tmp_path: Path) -> None:
    with questions(settings(database, tmp_path, 0), "test") as connection:
        assert scalar(connection, "SHOW statement_timeout") == "0"


def test_the_limit_is_a_setting() -> None:
    assert Settings.from_environment({}).statement_seconds == 60
    for text, seconds in (("5", 5), ("0", 0), ("2.5", 2.5)):
        named = {"TRISIGNAL_STATEMENT_SECONDS": text}
        assert Settings.from_environment(named).statement_seconds == seconds
    for text in ("soon", "-1", "1e9", "nan", "99999999"):
        with pytest.raises(ConfigurationError, match="TRISIGNAL_STATEMENT_SECONDS"):
            Settings.from_environment({"TRISIGNAL_STATEMENT_SECONDS": text})
