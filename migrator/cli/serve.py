"""Serve the HTTP API and the dashboard."""

import click

from migrator.cli._command import Console, declare

PORT = 8420


@declare(example="migrator serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(0, 65535))
@click.option("--root-path", default="", help="The path under which a proxy shows it, such as /migrator.")
async def command(console: Console, *, host: str, port: int, root_path: str) -> None:
    """Serve the HTTP API and the dashboard until SIGTERM or Ctrl-C. Start as many as you like."""
    from migrator.notifiers._announcer import need

    need("web", "fastapi", "web")
    import uvicorn

    from migrator.dashboard.app import create_app
    from migrator.notifiers.log import configure

    config = console.config()
    configure({0: "INFO"}.get(console.verbose, "DEBUG"), config.log_format, console.mask)
    app = create_app(config, root_path=root_path)
    settings = uvicorn.Config(
        app, host=host, port=port, log_config=None, timeout_graceful_shutdown=4, server_header=False, lifespan="on"
    )
    console.print(f"http://{host}:{port}{root_path}/")
    await uvicorn.Server(settings).serve()
