"""`trisignal dev`: the Dagster UI."""

from __future__ import annotations

import sys

import click

from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage import registry
from trisignal_pipeline.storage.readiness import database_for_work


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True)
def dev(host: str, port: int) -> None:
    """Open the Dagster UI: webserver and daemon on the database in use. Ctrl-C stops both."""
    from trisignal_pipeline.orchestration.dev_server import run_dev_server  # noqa: PLC0415
    from trisignal_pipeline.orchestration.instance import open_instance  # noqa: PLC0415
    from trisignal_pipeline.orchestration.partitions import sync_symbols  # noqa: PLC0415

    settings = Settings.from_environment()
    with database_for_work(settings).reading().connect("dev") as connection:
        active = registry.active_symbols(connection)
    with open_instance(settings) as instance:
        sync_symbols(instance, active)
    click.echo(f"the UI will be at http://{host}:{port} in some 20 s; Ctrl-C stops it")
    sys.exit(run_dev_server(settings, host=host, port=port))
