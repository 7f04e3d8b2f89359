"""Serving the application over HTTP until it is told to stop."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI

_LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": "plain",
            "stream": "ext://sys.stderr",
        }
    },
    "loggers": {
        "trisignal_pipeline": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
        "uvicorn": {"handlers": ["stderr"], "level": "INFO", "propagate": False},
    },
}


def serve(app: FastAPI, *, host: str, port: int) -> None:
    """Answer requests on `host` and `port` until SIGINT or SIGTERM.

    Addresses of those who ask, as a proxy passes them on, are neither read nor logged.
    """
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=_LOGGING,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
