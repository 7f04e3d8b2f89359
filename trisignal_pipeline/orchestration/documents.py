"""Where the document of an asset is to be found, as its page in the UI shows it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import dagster as dg

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.settings import project_file

DOCS_URL_VARIABLE = "TRISIGNAL_DOCS_URL"

ENTRY = "document"


def document(name: str, environment: Mapping[str, str] = os.environ) -> dict[str, dg.MetadataValue]:
    """Definition metadata that leads to the document `name` of the folder `docs`.

    A link where `TRISIGNAL_DOCS_URL` says below which address the documents are served, else the
    path of the file on this machine: no browser opens a file from a page of a server.

    Raises:
        ConfigurationError: the variable holds no http(s) address.
    """
    named = environment.get(DOCS_URL_VARIABLE)
    if not named:
        return {ENTRY: dg.MetadataValue.path(str(project_file("docs") / name))}
    if not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", named):
        raise ConfigurationError(
            f"{DOCS_URL_VARIABLE} must be an http(s) address of a folder, without user, query or "
            "fragment: it is shown in the UI"
        )
    return {ENTRY: dg.MetadataValue.url(f"{named.rstrip('/')}/{name}")}
