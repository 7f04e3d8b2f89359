"""Who may ask: with a token those who bear it, without one this machine by its own names."""

from __future__ import annotations

import logging

import pytest

from trisignal_pipeline.api.access import (
    LEAST_TOKEN_LENGTH,
    Token,
    configured_token,
    is_loopback,
    require_protection,
)
from trisignal_pipeline.api.application import build_app
from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.storage.connection import Database
from trisignal_pipeline_tests.api.running_api import Api, running

SECRET = "a-token-of-some-length-0123456789"
SPAN = {
    "symbol": "GLBX.MDP3:NQ",
    "start": "2024-11-26T00:00:00Z",
    "end": "2024-11-26T00:10:00Z",
}


def test_a_token_is_borne_whole_or_not_at_all() -> None:
    token = Token(SECRET)

    assert token.is_borne_by(f"Bearer {SECRET}")
    assert token.is_borne_by(f"bearer  {SECRET} ")
    for header in (
        None, "", "Bearer", "Bearer ", f"Basic {SECRET}", SECRET, f"Bearer {SECRET[:-1]}",
        f"Bearer {SECRET}x", f"Bearer {SECRET.upper()}", "Bearer \udce4",
    ):  # fmt: skip
        assert not token.is_borne_by(header), header


def test_a_token_does_not_show() -> None:
    assert SECRET not in repr(Token(SECRET))


def test_a_token_that_is_no_secret_is_refused_without_being_shown() -> None:
    assert configured_token({}) is None
    assert configured_token({"TRISIGNAL_API_TOKEN": " "}) is None
    assert configured_token({"TRISIGNAL_API_TOKEN": f" {SECRET}\n"}) == Token(SECRET)
    for bad in ("x" * (LEAST_TOKEN_LENGTH - 1), "two words that are long enough", "é" * 30):
        with pytest.raises(ConfigurationError, match="openssl rand") as refused:
            configured_token({"TRISIGNAL_API_TOKEN": bad})
        assert bad not in str(refused.value)


def test_other_machines_are_kept_out_unless_they_need_a_token() -> None:
    for host in ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"):
        assert is_loopback(host)
        require_protection(host, None)
    for host in ("0.0.0.0", "::", "192.168.1.5", "db.example", ""):
        assert not is_loopback(host)
        require_protection(host, Token(SECRET))
        with pytest.raises(ConfigurationError, match="TRISIGNAL_API_TOKEN"):
            require_protection(host, None)


def test_with_a_token_nothing_but_the_probes_answers_without_it(
    week: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG), running(build_app(week, token=Token(SECRET))) as api:
        assert api.get("bars", **SPAN).status == 401
        refused = api.get("bars", {"Authorization": "Bearer no"}, **SPAN)
        assert refused.headers["WWW-Authenticate"].startswith("Bearer")
        assert "Authorization: Bearer TOKEN" in refused.problem
        for path in ("openapi.json", "/metrics", "/nothing"):
            assert api.get(path).status == 401
        for path in ("/healthz", "/readyz", "/"):
            assert api.get(path).status == 200
        borne = {"Authorization": f"Bearer {SECRET}", "Host": "data.example"}
        assert api.get("bars", borne, **SPAN).status == 200
    assert SECRET not in caplog.text


def test_without_a_token_only_the_names_of_this_machine_are_answered_to(api: Api) -> None:
    for host in ("127.0.0.1", "localhost:8000", "[::1]:8000", "LOCALHOST"):
        assert api.get("bars", {"Host": host}, **SPAN).status == 200
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
        refused = api.get("bars", {"Host": host}, **SPAN)
        assert refused.status == 403
        assert "localhost" in refused.problem


def test_answers_carry_what_keeps_a_browser_to_our_own_scripts(api: Api) -> None:
    for path in ("/", "bars", "/healthz", "/nothing"):
        headers = api.get(path).headers
        assert "script-src 'self';" in headers["Content-Security-Policy"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Access-Control-Allow-Origin"] is None
