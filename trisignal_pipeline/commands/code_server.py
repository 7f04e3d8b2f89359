"""`trisignal code-server`: serve the definitions to a webserver and a daemon elsewhere."""

from __future__ import annotations

import os
import sys

import click

from trisignal_pipeline.settings import Settings


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=4000, show_default=True)
def code_server(host: str, port: int) -> None:
    """Serve assets, schedules and sensors to a webserver and a daemon that run elsewhere.

    Their workspace file names this host and port: see deploy/workspace.yaml. Sensors and schedules
    are evaluated here, and runs too where no workers do them.
    """
    from trisignal_pipeline.orchestration.instance import (  # noqa: PLC0415
        environment_of_services,
    )
    from trisignal_pipeline.orchestration.startup import require_schema  # noqa: PLC0415

    settings = Settings.from_environment()
    require_schema(settings)
    command = [sys.executable, "-m", "dagster", "code-server", "start"]
    command += ["--module-name", "trisignal_pipeline.orchestration.definitions"]
    command += ["--attribute", "defs", "--location-name", "trisignal"]
    command += ["--host", host, "--port", str(port)]
    # In place of this process: whoever watches over it watches over the server.
    os.execve(sys.executable, command, environment_of_services(settings))  # noqa: S606
