"""Going from one schema to another, and knowing which one a database has."""

from __future__ import annotations

import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from psycopg.conninfo import conninfo_to_dict

from trisignal_pipeline.errors import (
    DatabaseUnavailableError,
    SchemaVersionError,
    TrisignalError,
)
from trisignal_pipeline.settings import project_file
from trisignal_pipeline.storage.migrations import (
    VERSION_TABLE,
    current_revision,
    downgrade,
    head_revision,
    migrate,
    require_current,
)
from trisignal_pipeline_tests.storage.original_tables import (
    NAMES,
    contents,
    leave_original_tables,
    run,
)


def test_an_empty_database_gets_every_revision_once(empty_database_url: str) -> None:
    assert current_revision(empty_database_url) is None

    first = migrate(empty_database_url)
    second = migrate(empty_database_url)

    assert first[-1] == head_revision() == current_revision(empty_database_url)
    assert second == []
    require_current(empty_database_url)


def test_the_numbers_of_the_files_are_the_chain_of_revisions() -> None:
    scripts = ScriptDirectory(str(project_file("database")))

    chain = [script.revision for script in scripts.walk_revisions()]
    numbers = {path.name[:4] for path in Path(scripts.versions).glob("*.py")}

    assert chain == sorted(numbers, reverse=True)
    assert scripts.get_heads() == [head_revision()]


@pytest.mark.parametrize("call", [require_current, migrate], ids=["require", "migrate"])
def test_a_database_newer_than_the_code_asks_for_an_update(
    database_url: str, call: Callable[[str], object]
) -> None:
    run(database_url, f"UPDATE {VERSION_TABLE} SET version_num = '9999'")

    with pytest.raises(SchemaVersionError, match=r"schema 9999.* update trisignal"):
        call(database_url)


def test_a_database_without_a_schema_asks_for_a_migration(empty_database_url: str) -> None:
    with pytest.raises(SchemaVersionError, match="run: trisignal db migrate"):
        require_current(empty_database_url)


def test_a_database_gone_down_asks_for_a_migration(database_url: str) -> None:
    downgrade(database_url, "base")

    assert current_revision(database_url) is None
    with pytest.raises(SchemaVersionError, match="run: trisignal db migrate"):
        require_current(database_url)


@pytest.mark.parametrize("revision", ["0000", "9999", "head", "tail"])
def test_there_is_no_way_down_to_what_is_not_below(database_url: str, revision: str) -> None:
    with pytest.raises(SchemaVersionError, match=f"no way down to '{revision}', only to base"):
        downgrade(database_url, revision)

    require_current(database_url)


def test_of_several_processes_at_once_one_migrates(empty_database_url: str) -> None:
    leave_original_tables(empty_database_url)
    script = (
        "import sys; from trisignal_pipeline.storage.migrations import migrate; "
        "sys.stdin.read(); sys.stdout.write(','.join(migrate(sys.argv[1])))"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", script, empty_database_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    # All have been started before the first is let go.
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    said = []
    for process in processes:
        assert process.stdout is not None
        said.append(process.stdout.read())
        process.stdout.close()
        assert process.wait() == 0

    assert sorted(said)[:3] == ["", "", ""]
    assert sorted(said)[3].startswith("0001")
    assert current_revision(empty_database_url) == head_revision()


@pytest.mark.parametrize(
    "call", [current_revision, require_current, migrate], ids=["current", "require", "migrate"]
)
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://trader:s3cret-word@127.0.0.1:1/bars",
        "postgresql://trader:s3cret-word@127.0.0.1:notaport/bars",
        "postgresql://trader@/bars?host=/nowhere&password=s3cret-word",
    ],
)
def test_a_password_is_never_shown(url: str, call: Callable[[str], object]) -> None:
    with pytest.raises(TrisignalError) as raised:
        call(url)

    assert "s3cret-word" not in "".join(traceback.format_exception(raised.value))


def test_a_server_that_is_away_may_come_back(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnavailableError):
        migrate(f"postgresql://trisignal@/trisignal?host={tmp_path}")


def test_down_and_up_keep_every_row(empty_database_url: str) -> None:
    leave_original_tables(empty_database_url)
    run(
        empty_database_url,
        "CREATE VIEW closes AS SELECT symbol, ts, close FROM market_bars_ohlcv_1m",
        "CREATE MATERIALIZED VIEW last_close AS SELECT max(close) AS top FROM closes",
    )
    migrate(empty_database_url)
    run(
        empty_database_url,
        "SELECT ensure_time_partitions('market_bars_ohlcv_1m', '2024-01-01', '2025-01-01')",
        "INSERT INTO market_bars_ohlcv_1m (symbol, ts, ts_ms, open, high, low, close, volume, "
        "contract) SELECT 'GLBX.MDP3:NQ', ts, extract(epoch FROM ts) * 1000, 1, 2, 1, 2, 1, 'NQH4' "
        "FROM generate_series(timestamptz '2024-01-02', '2025-01-02', '10 days') AS ts",
        "INSERT INTO bar_dates (symbol, date, layer, state, completed_at) "
        "VALUES ('GLBX.MDP3:NQ', '2024-01-02', 'legacy', 'complete', now())",
        "INSERT INTO data_quality_results (symbol, date, asset, check_name, severity, passed) "
        "VALUES ('GLBX.MDP3:NQ', '2024-01-02', 'legacy_bars', 'ohlc', 'ERROR', true)",
        "INSERT INTO raw_files (path, size_bytes, mtime_ns, verdict) "
        "VALUES ('a', 1, 1, 'verified')",
        "INSERT INTO raw_file_contracts VALUES "
        "(1, '2024-01-02', 'NQ', 'NQH4', NULL, 5, 1, '2024-01-02', '2024-01-02')",
        "INSERT INTO signal_dates (symbol, date, bar_count, history_fingerprint, rules, "
        "logic_version) VALUES ('GLBX.MDP3:NQ', '2024-01-02', 1, 7, '{}', '1')",
        "UPDATE symbol_registry SET price_floor = NULL, tick_size = 5 WHERE root = 'NQ'",
    )
    kept = ("data_quality_results", "raw_files", "raw_file_contracts", "signal_dates")

    def everything() -> list[object]:
        return [
            contents(empty_database_url),
            *(run(empty_database_url, f"SELECT * FROM {table} ORDER BY 1") for table in kept),
            run(empty_database_url, "SELECT (SELECT count(*) FROM closes), top FROM last_close"),
        ]

    before = everything()
    downgrade(empty_database_url, "base")
    down = everything()
    migrate(empty_database_url)

    assert down == before
    assert everything() == before
    # While the schema was down anybody could write: the dates are to be materialised again.
    assert run(empty_database_url, "SELECT state FROM bar_dates") == [("writing",)]


def test_the_system_before_can_write_after_going_down(empty_database_url: str) -> None:
    leave_original_tables(empty_database_url)
    migrate(empty_database_url)
    downgrade(empty_database_url, "base")

    run(
        empty_database_url,
        "INSERT INTO market_bars_ohlcv_1m "
        "(vendor, schema, symbol, ts, ts_ms, open, high, low, close, volume) "
        "SELECT 'databento', 'ohlcv-1m', 'GLBX.MDP3:NQ', ts, 0, 1, 2, 1, 2, 1 "
        "FROM unnest(ARRAY[now() - interval '9 years', now() + interval '2 years']) AS ts "
        "ON CONFLICT (symbol, ts) DO UPDATE SET close = excluded.close",
        "INSERT INTO market_bars_ohlcv_1m_clean (symbol, ts, open, high, low, close, volume) "
        "VALUES ('GLBX.MDP3:NQ', now(), 1, 2, 1, 2, 1)",
    )
    migrate(empty_database_url)

    assert run(
        empty_database_url,
        "SELECT (SELECT count(*) FROM market_bars_ohlcv_1m WHERE NOT verified), "
        "(SELECT count(*) FROM market_bars_ohlcv_1m_clean WHERE source = 'adopted')",
    ) == [(22, 11)]


def test_a_view_on_what_has_to_go_stands_in_the_way_of_going_down(database_url: str) -> None:
    run(database_url, "CREATE VIEW mine AS SELECT * FROM selected_bar_dates")

    with pytest.raises(SchemaVersionError, match="view mine depends on view selected_bar_dates"):
        downgrade(database_url, "base")

    require_current(database_url)


def test_a_new_database_and_an_adopted_one_have_the_same_columns(
    database_url: str, empty_database_url: str
) -> None:
    leave_original_tables(empty_database_url)
    migrate(empty_database_url)
    # Beyond what both must have, an installation may have more, other widths, or later nulls.
    columns = (
        "SELECT table_name, column_name, column_default IS NULL, col_description("
        "table_name::regclass, ordinal_position::int) FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name NOT LIKE '%adopted' "
        "AND column_name NOT IN ('note', 'roll_rule', 'rank', 'schema', 'stype_in', 'is_active', "
        "'session_profile') ORDER BY 1, 2"
    )

    assert run(empty_database_url, columns) == run(database_url, columns)
    assert set(NAMES) <= {str(row[0]) for row in run(database_url, columns)}


def test_a_statement_timeout_of_the_role_does_not_cut_a_migration(empty_database_url: str) -> None:
    leave_original_tables(empty_database_url, names=("market_bars_ohlcv_1m",))
    name = conninfo_to_dict(empty_database_url)["dbname"]
    run(
        empty_database_url,
        "CREATE MATERIALIZED VIEW slow AS "
        "SELECT count(*), pg_sleep(0.5)::text FROM market_bars_ohlcv_1m",
        f"ALTER DATABASE {name} SET statement_timeout = '300ms'",
    )

    assert migrate(empty_database_url)[-1] == head_revision()
