"""The files of deploy/: linted, and in step with the commands and settings of the code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from dagster._daemon.cli import run_command as dagster_daemon
from dagster_webserver.cli import dagster_webserver

from trisignal_pipeline.cli import trisignal
from trisignal_pipeline.orchestration.dagster_storage import EVENT_BATCH_SIZE
from trisignal_pipeline.orchestration.workers import PINGS
from trisignal_pipeline_tests.test_documents import ROOT, settings_read_by_the_code

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
PROGRAMS = Path(sys.executable).parent

# What a service of a compose file may say, of what is of use here.
SERVICE_KEYS = {
    "build", "command", "depends_on", "environment", "healthcheck", "image", "ports", "restart",
    "shm_size", "stop_grace_period", "volumes",
}  # fmt: skip
# Variables that are not settings of ours by their names.
OTHER_VARIABLES = {"DATABENTO_API_KEY", "DAGSTER_HOME", "CODE_SERVER_HOST", "CODE_SERVER_PORT"}

CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


def _load(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text("utf-8"))


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    content: dict[str, Any] = _load("compose.yaml")
    return content


def _run(*command: str) -> str:
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


def _take(words: list[str]) -> None:
    """Parse a command line as the program it names would."""
    program, *arguments = words
    command: click.Command = {
        "trisignal": trisignal,
        "dagster-webserver": dagster_webserver,
        "dagster-daemon": click.Group("dagster-daemon", {"run": dagster_daemon}),
    }[program]
    while isinstance(command, click.Group):
        assert arguments[0] in command.commands, words
        command, arguments = command.commands[arguments[0]], arguments[1:]
    # Where deploy/workspace.yaml lies once it is installed.
    installed = str(DEPLOY / "workspace.yaml")
    arguments = [word.replace("/etc/trisignal/workspace.yaml", installed) for word in arguments]
    command.make_context(program, arguments)


def test_yaml_files_are_in_order() -> None:
    files = ("deploy", "dagster.yaml", "workspace.yaml")
    assert _run(str(PROGRAMS / "yamllint"), "--strict", *files) == ""


def test_the_dockerfile_is_in_order() -> None:
    assert _run(str(PROGRAMS / "hadolint"), "deploy/Dockerfile") == ""


def test_what_the_image_is_made_of_is_there_and_gets_into_the_build() -> None:
    copied = re.findall(r"^COPY (.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    let_in = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert {f"!{source}" for source in sources} == {line for line in let_in if line[:1] == "!"}
    assert all((ROOT / source).exists() for source in sources)
    packaged = set(re.findall(r'^"(\S+)" = "trisignal_pipeline/_project', _project(), re.MULTILINE))
    assert packaged <= sources


def _project() -> str:
    return (ROOT / "pyproject.toml").read_text("utf-8")


def _pins(lock: str) -> set[str]:
    text = (ROOT / lock).read_text("utf-8")
    pins = re.findall(r"^([\w.\[\],-]+==\S+)", text, re.MULTILINE)
    assert text.count("--hash=sha256:") >= len(pins) > 0
    return set(pins)


def test_the_three_locks_agree_and_each_holds_the_one_before() -> None:
    assert _pins("requirements.lock") < _pins("requirements-celery.lock")
    assert _pins("requirements-celery.lock") < _pins("requirements-dev.lock")


def test_the_deployment_s_dagster_yaml_differs_in_who_does_the_runs() -> None:
    ours, theirs = yaml.safe_load((ROOT / "dagster.yaml").read_text()), _load("dagster.yaml")
    differing = {key for key in ours.keys() | theirs if ours.get(key) != theirs.get(key)}
    assert differing <= {"run_launcher", "run_monitoring", "run_retries"}


def test_patience_with_workers_is_as_stated() -> None:
    text = " ".join((ROOT / "docs/OPERATIONS.md").read_text("utf-8").split())
    configured = _load("dagster.yaml")
    assert configured["run_monitoring"]["poll_interval_seconds"] == 60
    assert "Monitoring looks once a minute: it asks the worker, up to three times" in text
    assert PINGS == 3
    assert configured["run_retries"]["max_retries"] == 2
    assert "launched again, up to twice" in text
    assert configured["run_monitoring"]["start_timeout_seconds"] == 30 * 60
    assert "one that waits for half an hour counts as failed to start" in text


def test_compose_says_what_compose_understands(compose: dict[str, Any]) -> None:
    services = compose["services"]
    assert set(compose) == {"x-trisignal", "services", "volumes"}
    for name, service in services.items():
        assert set(service) <= SERVICE_KEYS, name
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] in CONDITIONS
            needs_health = how["condition"] == "service_healthy"
            assert not needs_health or "healthcheck" in services[other], (name, other)
        for volume in service.get("volumes", ()):
            source = re.sub(r"\$\{[^}]*\}", "/a/folder", volume).split(":")[0]
            assert source.startswith("/") or source in compose["volumes"], volume
        assert all(isinstance(word, str) for word in service.get("command", ())), name
    assert services["migrate"]["build"]["dockerfile"] == "deploy/Dockerfile"


def test_compose_s_commands_and_variables_are_those_of_the_code(compose: dict[str, Any]) -> None:
    known = settings_read_by_the_code() | OTHER_VARIABLES
    for name, service in compose["services"].items():
        if service["image"] != "trisignal":
            continue
        _take(service["command"])
        for variable, value in service["environment"].items():
            assert variable in known, (name, variable)
            assert isinstance(value, str), variable


def _lines(unit: Path, key: str) -> Iterator[str]:
    for line in unit.read_text("utf-8").splitlines():
        if line.startswith(f"{key}="):
            yield line.partition("=")[2]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_s_command_is_one_of_the_code(unit: Path) -> None:
    [start] = _lines(unit, "ExecStart")
    program, *arguments = start.split()
    _take([Path(program).name, *arguments])
    variables = {
        word.split("=")[0] for line in _lines(unit, "Environment") for word in line.split()
    }
    assert variables <= settings_read_by_the_code() | OTHER_VARIABLES


def test_the_units_are_in_order(tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("systemd-analyze is not on this machine")
    for unit in UNITS:
        text = unit.read_text("utf-8").replace("/opt/trisignal/.venv/bin", str(PROGRAMS))
        (tmp_path / unit.name).write_text(text)
    assert _run(verify, "verify", *(str(tmp_path / unit.name) for unit in UNITS)) == ""


def test_workspaces_name_the_location_alike() -> None:
    here = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    there = _load("workspace.yaml")["load_from"][0]["grpc_server"]
    assert there["location_name"] == here["location_name"] == "trisignal"


def test_the_values_for_kubernetes_give_runs_what_they_have_elsewhere() -> None:
    values = _load("kubernetes/values.yaml")
    [code] = values["dagster-user-deployments"]["deployments"]
    assert code["env"]["DAGSTER_EVENT_BATCH_SIZE"] == str(EVENT_BATCH_SIZE)
    assert {"trisignal_pipeline.orchestration.definitions", "defs"} <= set(code["codeServerArgs"])
    for part in (code, values["dagsterDaemon"], values["dagsterWebserver"]):
        assert {name for name in part["env"] if name.startswith("TRISIGNAL_")} <= (
            settings_read_by_the_code()
        )
    assert values["dagsterDaemon"]["image"]["tag"] in _project()


def test_no_file_holds_an_address_or_a_password() -> None:
    for path in filter(Path.is_file, DEPLOY.rglob("*")):
        text = path.read_text("utf-8")
        assert not re.search(r"https?://", text), path
        assert not re.search(r"://[^:/@\s]+:(?!\$)[^@\s]+@", text), path
