"""What an error that won't pass may wait for: other files, another registry, other settings."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.orchestration.daily_source import daily_budget_usd, daily_source
from trisignal_pipeline.settings import Settings
from trisignal_pipeline.sources.raw_folder import candidate_files, changed_files
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.connection import Connection


def circumstances(
    connection: Connection, settings: Settings, environment: Mapping[str, str] = os.environ
) -> str:
    """A word that is another one as soon as any of them is. Files are looked at, not opened.

    No secret can be read out of it: of the key of the API, which is random, it holds a digest.
    """
    try:
        seen = changed_files(candidate_files(settings.raw_dir), {})
        files = [[str(one.path), one.size, one.mtime_ns, one.beside] for one in seen]
    except ConfigurationError as error:
        files = [[str(error)]]
    return digest(
        files,
        registry.list_symbols(connection),
        str(settings.raw_dir),
        str(settings.api_dir),
        settings.api_gateway,
        settings.api_key,
        daily_source(environment),
        str(daily_budget_usd(environment)),
    )


def digest(*values: object) -> str:
    """16 hexadecimal digits that stand for `values`."""
    written = json.dumps(values, default=str).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(written, digest_size=8).hexdigest()
