"""Where an asset's page in the UI leads for the rest."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from trisignal_pipeline.errors import ConfigurationError
from trisignal_pipeline.orchestration.definitions import defs
from trisignal_pipeline.orchestration.documents import document
from trisignal_pipeline_tests.pipeline import ASSETS


@pytest.mark.parametrize("name", ASSETS)
def test_an_asset_leads_to_a_document_that_exists(name: str) -> None:
    shown = defs.resolve_asset_graph().get(dg.AssetKey(name)).metadata["document"]
    assert isinstance(shown, dg.PathMetadataValue)
    assert shown.path is not None
    assert Path(shown.path).read_text("utf-8").startswith("# ")


@pytest.mark.parametrize("base", ["https://docs.example/trisignal", "http://127.0.0.1:8000/"])
def test_where_documents_are_served_the_asset_has_a_link(base: str) -> None:
    shown = document("SIGNAL.md", {"TRISIGNAL_DOCS_URL": base})["document"]
    assert shown == dg.MetadataValue.url(f"{base.rstrip('/')}/SIGNAL.md")


@pytest.mark.parametrize(
    "wrong", ["docs", "ftp://docs.example", "https://me:secret@docs.example", "https://d.e/?a=b"]
)
def test_what_is_no_address_is_refused_without_being_shown(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="TRISIGNAL_DOCS_URL") as refused:
        document("SIGNAL.md", {"TRISIGNAL_DOCS_URL": wrong})
    assert "secret" not in str(refused.value)
