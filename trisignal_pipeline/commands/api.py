"""`trisignal api`: the HTTP interface."""

from __future__ import annotations

import click

from trisignal_pipeline.settings import Settings
from trisignal_pipeline.storage.health import folders_of
from trisignal_pipeline.storage.readiness import ready_database


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
def api(host: str, port: int) -> None:
    """Answer over HTTP what is stored: bars, biases, triangles, and how good they are.

    It only reads. On another address than this machine's own it needs TRISIGNAL_API_TOKEN, which
    every request then has to bear. Ctrl-C stops it.
    """
    from trisignal_pipeline.api.access import configured_token, require_protection  # noqa: PLC0415
    from trisignal_pipeline.api.application import build_app  # noqa: PLC0415
    from trisignal_pipeline.api.server import serve  # noqa: PLC0415

    token = configured_token()
    require_protection(host, token)
    settings = Settings.from_environment()
    app = build_app(
        ready_database(settings),
        token=token,
        folders=folders_of(settings),
        statement_seconds=settings.statement_seconds,
    )
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"the API is at http://{shown}:{port}/api/hist/v1; Ctrl-C stops it")
    serve(app, host=host, port=port)
