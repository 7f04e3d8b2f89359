"""The two roles: what each may do and may not, who takes them, and what happens without them."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

from trisignal_pipeline.errors import NotPermittedError, TableLockedError
from trisignal_pipeline.storage.bars import CLEAN, LEGACY
from trisignal_pipeline.storage.connection import Connection, Database, rows, scalar
from trisignal_pipeline.storage.migrations import downgrade, grant_to_roles, migrate
from trisignal_pipeline.storage.roles import Role
from trisignal_pipeline_tests.storage.stored_bars import (
    DAY,
    all_rows,
    bar,
    by_hand,
    days_from,
    store,
    table_rows,
)

RELATIONS = """
    SELECT relname FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = ANY(%s) AND NOT relispartition
    ORDER BY 1
"""
TABLES, TABLES_AND_VIEWS = ["r", "p"], ["r", "p", "v"]

# The audit and what was done to bars stay as they were written.
KEPT = {"data_ingest_runs", "market_bars_revisions", "quarantined_bars", "trisignal_schema"}


@contextmanager
def user_of(url: str, *memberships: str, options: str = "") -> Iterator[str]:
    """The URL of the same database for an ordinary user with these memberships alone."""
    name = f"user_{uuid.uuid4().hex[:12]}"
    by_hand(url, f"CREATE ROLE {name} LOGIN {options}")
    for role in memberships:
        by_hand(url, f"GRANT {role} TO {name}")
    try:
        yield make_url(url).set(username=name).render_as_string(hide_password=False)
    finally:
        by_hand(url, f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
def writer(database: Database) -> Iterator[Database]:
    """The database as a member of the writing role alone sees it, with a bar stored."""
    store(database, [bar(0)], days_from(DAY, 1))
    with user_of(database.url, "trisignal_writer") as url:
        yield Database(url)


@pytest.fixture
def reader(database: Database) -> Iterator[Database]:
    """The database as a member of the reading role alone sees it, with a bar stored."""
    store(database, [bar(0)], days_from(DAY, 1))
    with user_of(database.url, "trisignal_reader") as url:
        yield Database(url)


def relations(url: str, kinds: list[str]) -> list[str]:
    return [name for (name,) in all_rows(url, RELATIONS, kinds)]


def columns_of(url: str, table: str) -> str:
    return str(
        all_rows(
            url,
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 "
            "AND NOT attisdropped LIMIT 1",
            table,
        )[0][0]
    )


def refuses(connection: Connection, statement: str) -> bool:
    """Whether the statement is not allowed; if it is, it is undone."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


def may(connection: Connection, privilege: str) -> set[str]:
    """The tables with which the session may do this."""
    return {
        row["relname"]
        for row in rows(
            connection,
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "AND relkind IN ('r', 'p') AND has_table_privilege(oid, %s)",
            privilege,
        )
    }


@pytest.mark.parametrize(
    ("reading", "role"), [(False, "trisignal_writer"), (True, "trisignal_reader")]
)
def test_the_owner_takes_the_role_its_work_needs(
    database: Database, reading: bool, role: str
) -> None:
    with (database.reading() if reading else database).connect("test") as connection:
        assert scalar(connection, "SELECT current_user") == role
        assert scalar(connection, "SHOW transaction_read_only") == ("on" if reading else "off")


def test_work_on_the_schema_is_done_as_the_user_who_connects(database: Database) -> None:
    with Database(database.url, role=None).connect("test") as connection:
        assert scalar(connection, "SELECT current_user = session_user")


@pytest.mark.parametrize("inherits", ["INHERIT", "NOINHERIT"])
@pytest.mark.parametrize("role", Role)
def test_a_member_takes_the_role_whether_it_inherits_or_not(
    database: Database, role: Role, inherits: str
) -> None:
    with (
        user_of(database.url, role, options=inherits) as url,
        Database(url, role=role).connect("test") as connection,
    ):
        assert scalar(connection, "SELECT current_user") == role
        assert scalar(connection, "SELECT count(*) FROM symbol_registry") == 4


def test_a_writer_reads_as_a_reader(writer: Database) -> None:
    with writer.reading().connect("test") as connection:
        assert scalar(connection, "SELECT current_user") == "trisignal_reader"


def test_everything_can_be_read(reader: Database) -> None:
    with reader.reading().connect("test") as connection:
        for name in relations(reader.url, TABLES_AND_VIEWS):
            connection.execute(sql.SQL("SELECT * FROM {} LIMIT 1").format(sql.Identifier(name)))


def test_a_reader_can_write_nothing(database: Database, reader: Database) -> None:
    with psycopg.connect(reader.url, autocommit=True) as connection:
        for table in relations(database.url, TABLES):
            column = columns_of(database.url, table)
            for statement in (
                f"INSERT INTO {table} DEFAULT VALUES",
                f"UPDATE {table} SET {column} = DEFAULT",
                f"DELETE FROM {table}",
                f"TRUNCATE {table}",
                f"LOCK TABLE {table} IN EXCLUSIVE MODE",
                f"ALTER TABLE {table} ADD COLUMN more text",
                f"DROP TABLE {table}",
            ):
                assert refuses(connection, statement), statement
        for statement in (
            "CREATE TABLE mine ()",
            "SELECT ensure_time_partitions('market_bars_ohlcv_1m', '1990-01-01', '1990-01-01')",
            "SELECT nextval('data_ingest_runs_id_seq')",
            "SET ROLE trisignal_writer",
        ):
            assert refuses(connection, statement), statement
        assert scalar(connection, "SELECT grant_to_roles()") is False


def test_a_reading_session_is_read_only_whoever_connects(database: Database) -> None:
    by_hand(
        database.url, "CREATE TABLE open_to_all (n integer); GRANT ALL ON open_to_all TO PUBLIC"
    )

    with (
        pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
        database.reading().connect("test") as connection,
    ):
        connection.execute("INSERT INTO open_to_all VALUES (1)")


def test_a_writer_writes_bars_and_their_audit(writer: Database) -> None:
    store(writer, [bar(0), bar(1)], days_from(DAY, 1))

    assert len(table_rows(writer.url, LEGACY)) == 2
    assert all_rows(writer.url, "SELECT status FROM data_ingest_runs ORDER BY id") == [
        ("success",),
        ("success",),
    ]


def test_a_writer_has_partitions_made_that_stay_the_owner_s(writer: Database) -> None:
    with writer.connect("test") as connection:
        made = scalar(
            connection,
            "SELECT ensure_time_partitions('market_bars_ohlcv_1m', '1990-01-01', '1990-01-01')",
        )

    assert made == 1
    assert all_rows(
        writer.url,
        "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'market_bars_ohlcv_1m_y1990'",
    ) == [("trisignal",)]


@pytest.mark.parametrize("table", ["symbol_registry", "mine"])
def test_partitions_are_made_of_the_product_s_tables_alone(
    database: Database, writer: Database, table: str
) -> None:
    by_hand(database.url, "CREATE TABLE mine (ts timestamptz) PARTITION BY RANGE (ts)")

    with (
        pytest.raises(psycopg.errors.RaiseException, match=table),
        writer.connect("test") as connection,
    ):
        connection.execute(
            "SELECT ensure_time_partitions(%s::regclass, '1990-01-01', '1990-01-01')", (table,)
        )


def test_a_writer_can_change_neither_the_schema_nor_the_past(
    database: Database, writer: Database
) -> None:
    with psycopg.connect(writer.url, autocommit=True) as connection:
        for table in relations(database.url, TABLES):
            for statement in (
                f"TRUNCATE {table}",
                f"ALTER TABLE {table} ADD COLUMN more text",
                f"ALTER TABLE {table} DISABLE TRIGGER ALL",
                f"CREATE RULE mine AS ON INSERT TO {table} DO INSTEAD NOTHING",
                f"DROP TABLE {table}",
            ):
                assert refuses(connection, statement), statement
        for statement in (
            "CREATE TABLE mine ()",
            "CREATE VIEW mine AS SELECT 1",
            "CREATE FUNCTION mine() RETURNS integer LANGUAGE sql RETURN 1",
            "ALTER ROLE trisignal_writer SUPERUSER",
            f"DROP TABLE market_bars_ohlcv_1m_y{DAY.year}",
            "COPY (SELECT 1) TO PROGRAM 'cat'",
        ):
            assert refuses(connection, statement), statement
        assert not KEPT & may(connection, "DELETE")
        assert not {"market_bars_revisions", "trisignal_schema"} & may(connection, "UPDATE")


@pytest.mark.parametrize("role", Role)
def test_nobody_lays_the_owner_s_trigger_on_a_table_of_their_own(
    database: Database, role: Role
) -> None:
    with (
        user_of(database.url, role) as url,
        psycopg.connect(url, autocommit=True) as connection,
    ):
        connection.execute(f"CREATE TEMPORARY TABLE mine AS SELECT * FROM {CLEAN.name}")
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="keep_bar_revisions"):
            connection.execute(
                "CREATE TRIGGER mine AFTER DELETE ON mine REFERENCING OLD TABLE AS old_bars "
                "FOR EACH STATEMENT EXECUTE FUNCTION keep_bar_revisions('clean')"
            )


def test_every_table_is_granted_and_none_that_is_not_the_product_s(database: Database) -> None:
    by_hand(database.url, "CREATE TABLE strangers (n integer)")
    grant_to_roles(database.url)
    tables = set(relations(database.url, TABLES))

    with database.reading().connect("test") as connection:
        assert may(connection, "SELECT") == tables - {"strangers"}
        assert may(connection, "INSERT") == set()
    with database.connect("test") as connection:
        assert may(connection, "INSERT") == tables - {"strangers", "trisignal_schema"}


def test_rights_that_are_no_longer_listed_are_taken_back(database: Database) -> None:
    by_hand(database.url, "GRANT TRUNCATE ON market_bars_ohlcv_1m TO trisignal_writer")

    grant_to_roles(database.url)

    with database.connect("test") as connection:
        assert may(connection, "TRUNCATE") == set()


def test_what_is_not_allowed_says_who_and_what_to_be(reader: Database) -> None:
    user = conninfo_to_dict(reader.url)["user"]

    with pytest.raises(
        NotPermittedError,
        match=rf"{user} may not.*permission denied for .* data_ingest_runs.*trisignal_writer",
    ):
        store(reader, [bar(0)], days_from(DAY, 1))


def test_a_stranger_connects_and_may_nothing(database: Database) -> None:
    with (
        user_of(database.url) as url,
        pytest.raises(NotPermittedError, match="permission denied for table symbol_registry"),
        Database(url).reading().connect("test") as connection,
    ):
        connection.execute("SELECT FROM symbol_registry")


def test_a_lock_is_laid_at_its_holder_s_door_whoever_waits(
    database: Database, writer: Database
) -> None:
    impatient = Database(writer.url, lock_timeout_seconds=0.1)
    with psycopg.connect(database.url, application_name="a night job") as other:
        other.execute("LOCK TABLE data_ingest_runs")
        with pytest.raises(TableLockedError, match=r"data_ingest_runs is locked.*a night job"):
            store(impatient, [bar(0)], days_from(DAY, 1))


def test_tables_are_found_in_a_schema_named_after_the_user(empty_database_url: str) -> None:
    by_hand(empty_database_url, "CREATE SCHEMA trisignal")
    migrate(empty_database_url)

    with Database(empty_database_url).connect("test") as connection:
        assert scalar(connection, "SELECT current_user") == "trisignal_writer"
        assert scalar(connection, "SELECT count(*) FROM symbol_registry") == 4


def test_a_database_that_gives_public_nothing_gives_the_roles_enough(
    empty_database_url: str,
) -> None:
    name = conninfo_to_dict(empty_database_url)["dbname"]
    by_hand(
        empty_database_url,
        f"REVOKE ALL ON SCHEMA public FROM PUBLIC; REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC;"
        "ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
    )
    migrate(empty_database_url)

    with user_of(empty_database_url, "trisignal_writer", options="NOINHERIT") as url:
        store(Database(url), [bar(0)], days_from(DAY, 1))
        with Database(url).reading().connect("test") as connection:
            assert scalar(connection, "SELECT count(*) FROM signal_doubts") == 0


def test_a_database_that_went_down_is_used_as_before(database: Database) -> None:
    granted = """
        SELECT count(*) FROM pg_shdepend
        WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND refobjid IN (SELECT oid FROM pg_roles
                           WHERE rolname IN ('trisignal_writer', 'trisignal_reader'))
    """
    assert all_rows(database.url, granted) != [(0,)]

    downgrade(database.url, "0006")

    assert all_rows(database.url, granted) == [(0,)]
    with database.connect("test") as connection:
        assert scalar(connection, "SELECT current_user = session_user")


@pytest.fixture
def without_roles(
    empty_database_url: str, request: pytest.FixtureRequest
) -> Iterator[Callable[[], None]]:
    """The server as if it had no such roles; called, they are back."""
    names = {role: f"{role}_{uuid.uuid4().hex[:8]}" for role in Role}
    away = True

    def bring_back() -> None:
        nonlocal away
        for role, name in names.items():
            by_hand(empty_database_url, f"ALTER ROLE {name} RENAME TO {role}")
        away = False

    for role, name in names.items():
        by_hand(empty_database_url, f"ALTER ROLE {role} RENAME TO {name}")
    yield bring_back
    if away:
        bring_back()


@pytest.mark.usefixtures("migrated_template")
def test_an_owner_who_may_not_make_roles_is_told_and_does_without_until_they_are_made(
    empty_database_url: str,
    without_roles: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    name = conninfo_to_dict(empty_database_url)["dbname"]
    with user_of(empty_database_url) as url:
        owner = conninfo_to_dict(url)["user"]
        by_hand(empty_database_url, f"ALTER DATABASE {name} OWNER TO {owner}")
        by_hand(empty_database_url, f"GRANT CREATE ON SCHEMA public TO {owner}")
        with caplog.at_level(logging.WARNING):
            migrate(url)
        [told] = [record.getMessage() for record in caplog.records]
        assert "CREATE ROLE trisignal_reader; CREATE ROLE trisignal_writer IN ROLE" in told

        store(Database(url), [bar(0)], days_from(DAY, 1))
        with Database(url).connect("test") as connection:
            assert scalar(connection, "SELECT current_user") == owner

        without_roles()
        grant_to_roles(url)

        with user_of(empty_database_url, "trisignal_writer") as other:
            store(Database(other), [bar(0), bar(1)], days_from(DAY, 1))
        assert len(table_rows(url, LEGACY)) == 2
        by_hand(empty_database_url, f"REASSIGN OWNED BY {owner} TO trisignal")


@pytest.mark.usefixtures("migrated_template", "without_roles")
def test_an_owner_who_may_make_roles_makes_them_and_takes_them(empty_database_url: str) -> None:
    name = conninfo_to_dict(empty_database_url)["dbname"]
    with user_of(empty_database_url, options="CREATEROLE") as url:
        owner = conninfo_to_dict(url)["user"]
        by_hand(empty_database_url, f"ALTER DATABASE {name} OWNER TO {owner}")
        by_hand(empty_database_url, f"GRANT CREATE ON SCHEMA public TO {owner}")
        migrate(url)

        with Database(url).connect("test") as connection:
            assert scalar(connection, "SELECT current_user") == "trisignal_writer"
        downgrade(url, "0006")
        by_hand(empty_database_url, f"REASSIGN OWNED BY {owner} TO trisignal")
        by_hand(empty_database_url, "DROP ROLE trisignal_writer; DROP ROLE trisignal_reader")
