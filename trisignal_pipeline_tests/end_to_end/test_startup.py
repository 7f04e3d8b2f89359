"""Every process of a deployment refuses a database with another schema, and says what to do."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from trisignal_pipeline.errors import SchemaVersionError
from trisignal_pipeline.orchestration.dagster_storage import PooledStorage
from trisignal_pipeline.orchestration.startup import require_schema
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.migrations import downgrade, migrate
from trisignal_pipeline_tests.end_to_end.command_line import COMMAND, wait_until
from trisignal_pipeline_tests.end_to_end.market_server import documented_server, url_of
from trisignal_pipeline_tests.end_to_end.services import (
    DAEMON,
    WEBSERVER,
    deployed,
    deployment,
    service,
)
from trisignal_pipeline_tests.end_to_end.webserver import Webserver, free_port
from trisignal_pipeline_tests.pipeline import Pipeline

LONG_RUNNING = {
    "webserver": [*WEBSERVER, "--empty-workspace"],
    "daemon": [*DAEMON, "--empty-workspace"],
    "code server": [*COMMAND, "code-server"],
    "worker": [*COMMAND, "worker"],
}


def test_every_process_ends_with_one_line_on_an_older_schema(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    downgrade(pipeline.database.url, "0007")
    terminal = deployment(
        tmp_path,
        pipeline.raw,
        deployed("dagster.yaml"),
        TRISIGNAL_DATABASE_URL=pipeline.database.url,
        TRISIGNAL_DAGSTER_DATABASE_URL=pipeline.dagster_url,
        TRISIGNAL_BROKER_URL="redis://127.0.0.1:1/0",
    )
    started = {
        name: subprocess.Popen(
            command,
            env=terminal.environment,
            cwd=terminal.cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name, command in LONG_RUNNING.items()
    }
    for name, process in started.items():
        said, _ = process.communicate(timeout=120)
        assert process.returncode == 1, (name, said)
        [line] = said.splitlines()
        assert line.startswith("error: the database test_"), (name, line)
        assert "has schema 0007, older than" in line, (name, line)
        assert line.endswith("run: trisignal db migrate"), (name, line)


def test_a_newer_schema_asks_for_a_newer_trisignal(pipeline: Pipeline) -> None:
    pipeline.query("UPDATE trisignal_schema SET version_num = '9999'")
    with pytest.raises(SchemaVersionError, match=r"has schema 9999, which .*; update trisignal$"):
        PooledStorage.from_config_value(None, {})


def test_the_embedded_database_is_not_looked_at(tmp_path: Path) -> None:
    require_schema(Settings(home=tmp_path / "home", raw_dir=tmp_path / "raw"))
    assert not (tmp_path / "home").exists()


def test_a_mere_reader_of_the_market_can_open_the_ui(tmp_path: Path) -> None:
    with documented_server() as server:
        migrate(url_of(server, "market_owner"))
        terminal = deployment(
            tmp_path,
            tmp_path / "raw",
            deployed("dagster.yaml"),
            TRISIGNAL_DATABASE_URL=url_of(server, "market_desk"),
            TRISIGNAL_DAGSTER_DATABASE_URL=url_of(server, "market_pipeline", "market_dagster"),
            TRISIGNAL_BROKER_URL="redis://127.0.0.1:1/0",
        )
        web, log = Webserver(free_port()), tmp_path / "log"
        command = [*WEBSERVER, "--empty-workspace", "--port", str(web.port)]
        with service(terminal, command, log) as process:
            wait_until(lambda: web.answers() or process.poll() is not None, "answer")
            assert process.poll() is None, log.read_text()
