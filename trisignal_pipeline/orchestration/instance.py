"""Dagster's instance for runs in this process, and the environment that its processes share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.orchestration.deployment import dagster_folder
from trisignal_pipeline.settings import Settings, project_file

DAGSTER_YAML = "dagster.yaml"


@contextmanager
def open_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """The instance that the UI shows too, for runs in this process; its server runs.

    While it is open the environment says what `settings` say, so that everything Dagster makes
    from names in its configuration agrees with them. Connections are closed at the end.

    Raises:
        ConfigurationError: Dagster's folder can't be made.
        DatabaseUnavailableError: Dagster's database can't be reached.
        EmbeddedServerError: the embedded server can't be set up on this machine.
    """
    home, configuration = dagster_home(settings)
    with _exported({**environment_of(settings), "DAGSTER_HOME": str(home)}):
        ref = InstanceRef.from_dir(
            str(home),
            config_dir=str(configuration.parent),
            # The terminal is where the output of such a run belongs; capturing it into a file
            # redirects the whole process, progress and all.
            overrides={
                "compute_logs": {
                    "module": "dagster._core.storage.noop_compute_log_manager",
                    "class": "NoOpComputeLogManager",
                }
            },
        )
        with dg.DagsterInstance.from_ref(ref) as instance:
            yield instance


def dagster_home(
    settings: Settings, environment: Mapping[str, str] = os.environ
) -> tuple[Path, Path]:
    """Dagster's home folder, made if need be, and the `dagster.yaml` that counts.

    A deployment that sets `DAGSTER_HOME` and keeps a `dagster.yaml` there has chosen its own; in
    the folder below `TRISIGNAL_HOME` that file is only a copy of the product's.

    Raises:
        ConfigurationError: the folder can't be made.
    """
    home = dagster_folder(settings)
    chosen = environment.get("DAGSTER_HOME")
    named = Path(chosen).expanduser().absolute() if chosen else home
    own = named / DAGSTER_YAML if named != home else None
    try:
        named.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"Dagster's folder {named} can't be made ({error.strerror}); "
            f"set {'DAGSTER_HOME' if own else 'TRISIGNAL_HOME'} to a folder that can be written"
        ) from error
    return named, own if own and own.is_file() else project_file(DAGSTER_YAML)


def environment_of_services(
    settings: Settings, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The whole environment for processes of Dagster's own that find everything by it.

    The `dagster.yaml` that counts lies in the `DAGSTER_HOME` it names, copied there if need be.

    Raises:
        ConfigurationError: Dagster's folder can't be made.
    """
    home, configuration = dagster_home(settings, environment)
    if configuration.parent != home:
        shutil.copyfile(configuration, home / DAGSTER_YAML)
    variables = {**environment, **environment_of(settings), "DAGSTER_HOME": str(home)}
    return {name: value for name, value in variables.items() if value is not None}


def environment_of(settings: Settings) -> dict[str, str | None]:
    """The variables that `settings` are read from, with absolute paths; None: not set."""
    return {
        "TRISIGNAL_HOME": str(settings.home),
        "TRISIGNAL_RAW_DIR": str(settings.raw_dir),
        "TRISIGNAL_DATABASE_URL": settings.database_url,
        "TRISIGNAL_API_DIR": str(settings.api_dir),
        "TRISIGNAL_DATABENTO_GATEWAY": settings.api_gateway,
        "DATABENTO_API_KEY": settings.api_key,
    }


@contextmanager
def _exported(variables: Mapping[str, str | None]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    _set(variables)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
