"""Who may ask: the bearer token, the addresses one may listen on without it, and host names.

Without a token only this machine may ask, and only by a name of its own: a page of another site
that has its own name lead here must not read what is stored.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from trisignal_pipeline.api.problems import problem
from trisignal_pipeline.errors import ConfigurationError

LEAST_TOKEN_LENGTH = 20

PUBLIC_PATHS = ("/healthz", "/readyz")
"""What needs no token: whether the process lives and can work, for those that restart it."""

PUBLIC_FOLDERS = ("/static/",)
"""The page's own files, which hold no data."""

_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


@dataclass(frozen=True, slots=True)
class Token:
    """The secret that a request has to bear. Never printed."""

    secret: str = field(repr=False)

    def is_borne_by(self, authorization: str | None) -> bool:
        """Whether the header is `Bearer` and the secret; it takes as long whatever is wrong."""
        scheme, _, borne = (authorization or "").partition(" ")
        # Of equal length, so that not even the secret's own can be measured.
        digests = (
            hashlib.sha256(text.strip().encode("utf-8", "surrogateescape")).digest()
            for text in (borne, self.secret)
        )
        return hmac.compare_digest(*digests) and scheme.lower() == "bearer"


def configured_token(environment: Mapping[str, str] = os.environ) -> Token | None:
    """The token of TRISIGNAL_API_TOKEN; None if none is set.

    Raises:
        ConfigurationError: it is too short to be a secret, or can't be sent in a header.
    """
    secret = (environment.get("TRISIGNAL_API_TOKEN") or "").strip()
    if not secret:
        return None
    if len(secret) < LEAST_TOKEN_LENGTH or not re.fullmatch(r"[!-~]+", secret):
        raise ConfigurationError(
            f"TRISIGNAL_API_TOKEN must be at least {LEAST_TOKEN_LENGTH} characters long, without "
            "blanks (its value is not shown); make one with: openssl rand -hex 32"
        )
    return Token(secret)


def is_loopback(host: str) -> bool:
    """Whether `host` is an address that no other machine can reach."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def require_protection(host: str, token: Token | None) -> None:
    """Refuse an address that others can reach, unless they need a token.

    Raises:
        ConfigurationError: `host` is no loopback address and there is no token.
    """
    if token is None and not is_loopback(host):
        raise ConfigurationError(
            f"the API doesn't listen on {host} without a token: other machines could read what is "
            "stored. Set TRISIGNAL_API_TOKEN (make one with: openssl rand -hex 32), or listen on "
            "127.0.0.1"
        )


class AccessControl:
    """Answers those who may not ask, and passes the others on."""

    def __init__(self, app: ASGIApp, token: Token | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self._token is None:
            host = re.sub(r":\d*$", "", headers.get("host", "")).lower()
            if host not in _LOCAL_NAMES:
                answer = problem(
                    scope,
                    403,
                    "Without a token the API answers to the names of this machine only: "
                    f"{', '.join(_LOCAL_NAMES)}.",
                )
                await answer(scope, receive, send)
                return
        elif not _is_public(scope["path"]) and not self._token.is_borne_by(
            headers.get("authorization")
        ):
            answer = problem(
                scope,
                401,
                "Send the token of this server in the header: Authorization: Bearer TOKEN.",
                headers={"WWW-Authenticate": 'Bearer realm="trisignal"'},
            )
            await answer(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _is_public(path: str) -> bool:
    return path == "/" or path in PUBLIC_PATHS or path.startswith(PUBLIC_FOLDERS)
