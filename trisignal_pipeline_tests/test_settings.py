"""Settings come from the environment, and a password in them goes nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.settings import Settings, project_file

SECRET = "postgresql://trader:hunter2@db.example/trisignal"


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "environment",
    [{}, {"TRISIGNAL_DATABASE_URL": "", "TRISIGNAL_HOME": "", "TRISIGNAL_RAW_DIR": ""}],
    ids=["unset", "empty"],
)
def test_nothing_has_to_be_set(environment: dict[str, str]) -> None:
    settings = Settings.from_environment(environment)

    assert settings == Settings(
        home=Path.cwd() / ".trisignal", raw_dir=Path.cwd() / "data" / "raw", database_url=None
    )


def test_every_place_can_be_named(tmp_path: Path) -> None:
    settings = Settings.from_environment(
        {
            "TRISIGNAL_DATABASE_URL": SECRET,
            "TRISIGNAL_HOME": str(tmp_path / "home"),
            "TRISIGNAL_RAW_DIR": "../files",
        }
    )

    assert settings.database_url == SECRET
    assert settings.home == tmp_path / "home"
    assert settings.raw_dir.is_absolute()
    assert settings.raw_dir.resolve() == tmp_path.parent / "files"


def test_places_stay_where_they_are_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings.from_environment({})

    monkeypatch.chdir("/")

    assert settings.home == tmp_path / ".trisignal"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_both_schemes_of_postgresql_are_taken(scheme: str) -> None:
    url = f"{scheme}://localhost/trisignal"

    assert Settings.from_environment({"TRISIGNAL_DATABASE_URL": url}).database_url == url


@pytest.mark.parametrize(
    "url",
    [
        "mysql://trader:hunter2@db/trisignal",
        "postgresql+psycopg2://trader:hunter2@db/trisignal",
        "host=db password=hunter2",
        "hunter2",
    ],
)
def test_a_url_of_something_else_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigurationError, match="must start with postgresql://") as refusal:
        Settings.from_environment({"TRISIGNAL_DATABASE_URL": url})

    assert "hunter2" not in str(refusal.value)


def test_the_url_is_not_printed_with_the_settings() -> None:
    settings = Settings.from_environment({"TRISIGNAL_DATABASE_URL": SECRET})

    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)


@pytest.mark.parametrize("name", ["database", "dagster.yaml", "workspace.yaml"])
def test_the_projects_own_files_are_found_from_anywhere(name: str) -> None:
    assert project_file(name).exists()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://trader:S3k@r3tPw@localhost/own",
        "postgresql://trader:S3kr3t/Pw@/own?host=/tmp",
        "postgresql://trader:S3kr3t#Pw@localhost/own",
    ],
)
def test_a_password_that_is_not_percent_encoded_is_refused_unseen(url: str) -> None:
    with pytest.raises(ConfigurationError, match="percent-encode") as refused:
        Settings.from_environment({"TRISIGNAL_DATABASE_URL": url})
    assert "r3t" not in str(refused.value)


def test_the_api_can_be_named(tmp_path: Path) -> None:
    settings = Settings.from_environment(
        {
            "TRISIGNAL_API_DIR": "bought",
            "TRISIGNAL_DATABENTO_GATEWAY": "https://gateway.example:8443",
            "DATABENTO_API_KEY": " db-hunter2\n",
        }
    )

    assert settings.api_dir == Path.cwd() / "bought"
    assert settings.api_gateway == "https://gateway.example:8443"
    assert settings.api_key == "db-hunter2"
    assert "hunter2" not in repr(settings)


@pytest.mark.parametrize(
    "gateway",
    [
        "http://gateway.example",
        "gateway.example",
        "https://",
        "https://trader:hunter2@gateway.example",
        "https://gateway.example/v0",
    ],
)
def test_a_gateway_that_is_not_plain_https_is_refused(gateway: str) -> None:
    with pytest.raises(ConfigurationError, match="https://host") as refused:
        Settings.from_environment({"TRISIGNAL_DATABENTO_GATEWAY": gateway})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("key", ["db hunter2", "db-hunter2\x00", "db-hünter2"])
def test_what_cannot_be_a_key_is_refused_unseen(key: str) -> None:
    with pytest.raises(ConfigurationError, match="DATABENTO_API_KEY") as refused:
        Settings.from_environment({"DATABENTO_API_KEY": key})
    assert "nter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("raw", "api"), [("data", "data/api"), ("data/raw", "data"), ("data", "./data")]
)
def test_bought_files_and_raw_files_are_kept_apart(raw: str, api: str) -> None:
    with pytest.raises(ConfigurationError, match="must not lie in each other"):
        Settings.from_environment({"TRISIGNAL_RAW_DIR": raw, "TRISIGNAL_API_DIR": api})
