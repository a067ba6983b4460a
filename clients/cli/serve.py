"""``plan serve``: the HTTP service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from memplan.clients.cli.exits import ExitCode

__all__ = ["serve"]


def serve(
    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; the default is this machine only.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8080,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            metavar="FILE",
            help="Keep answers in this SQLite file; default: in memory.",
            show_default=False,
        ),
    ] = None,
    concurrent: Annotated[
        int,
        typer.Option("--concurrent", min=1, max=256, help="Questions that are solved at a time."),
    ] = 1,
) -> int:
    """Plan over HTTP: POST /v1/plans takes a graph and a request, or a .pt2 file.

    There is no authentication: listen on other addresses only behind something that has it.
    """
    from memplan.ir.errors import MissingExtraError, RequestError

    try:
        import uvicorn

        from memplan.planner_service.app import create_app
        from memplan.planner_service.settings import Settings
    except ImportError as failure:
        raise MissingExtraError(
            f"the service is not installed ({failure.name}); pip install 'memplan[service]'"
        ) from None
    if store is not None and not store.parent.is_dir():
        raise RequestError(f"--store {store}: there is no folder {store.parent}; create it first")
    app = create_app(Settings(store_path=store, concurrent_solves=concurrent))
    try:
        uvicorn.run(app, host=host, port=port, log_level="info", timeout_graceful_shutdown=5)
    except KeyboardInterrupt:
        return ExitCode.YES  # the usual way to end a server
    except SystemExit as failure:
        raise RequestError(
            f"--host {host} --port {port}: the server cannot start there (see above); "
            "choose another --port"
        ) from failure
    return ExitCode.YES
