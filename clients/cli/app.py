"""The commands of ``plan``, and the default one."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from memplan.clients.cli import export, frontier, pack, run, serve, solve, trace, verify
from memplan.clients.cli.exits import ExitCode
from memplan.clients.cli.help import OVERVIEW
from memplan.ir.errors import RequestError

__all__ = ["app"]

DEFAULT_COMMAND = "solve"


class _DefaultCommandGroup(TyperGroup):
    """``plan MODEL ...`` means ``plan solve MODEL ...``, in whatever order the words come."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own_flags = {"-h", "--help", "--version"}
        if args and args[0] not in self.commands and args[0] not in own_flags:
            is_plan = any(word.startswith("--budget") for word in args)
            if not is_plan and args[0].isidentifier() and not Path(args[0]).exists():
                raise RequestError(
                    f"{args[0]}: no command ({', '.join(self.commands)}) and no model file; "
                    "plan --help shows how"
                )
            args = [DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        typer.echo(OVERVIEW, nl=False)


app = typer.Typer(
    cls=_DefaultCommandGroup,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"memplan {version('memplan')}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def _overview(
    context: typer.Context,
    show_version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(OVERVIEW, nl=False, err=True)
        raise typer.Exit(ExitCode.USAGE)


def _reflowed(docstring: str) -> str:
    """Join the lines of each paragraph; the help page breaks them to its own width."""
    return "\n\n".join(" ".join(part.split()) for part in docstring.split("\n\n"))


for _name, _command in (
    ("solve", solve.solve),
    ("frontier", frontier.frontier),
    ("trace", trace.trace),
    ("verify", verify.verify),
    ("run", run.run),
    ("export", export.export),
    ("pack", pack.pack),
    ("serve", serve.serve),
):
    app.command(_name, help=_reflowed(_command.__doc__ or ""))(_command)
