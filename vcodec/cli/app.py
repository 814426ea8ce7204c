"""The table of commands."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from vcodec import __version__
from vcodec.cli import (
    cat,
    codecs,
    cut,
    decode,
    encode,
    evaluate,
    importing,
    info,
    rd_curve,
    study,
    study_cache,
    train,
    verify,
)
from vcodec.cli.display import ReaderGoneError

__all__ = ["command"]

_COMMANDS: dict[str, Callable[..., None]] = {
    "encode": encode.encode,
    "decode": decode.decode,
    "info": info.info,
    "verify": verify.verify,
    "eval": evaluate.evaluate,
    "cut": cut.cut,
    "cat": cat.cat,
    "rd-curve": rd_curve.rd_curve,
    "codecs": codecs.codecs,
    "train": train.train,
    "import": importing.import_weights,
}

_STUDIES: dict[str, Callable[..., None]] = {
    "cache": study_cache.cache,
    "digits": study.digits,
    "ivvae": study.ivvae,
    "qae": study.qae,
}

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def _print_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"vcodec {__version__}\n")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_print_version)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """A neural video codec: video in, quantized latents in a file of its own, video out.

    vcodec encode in.mp4 -o out.vae --k 32, and back: vcodec decode out.vae -o back.mp4
    """


def _guarded(function: Callable[..., None]) -> Callable[..., None]:
    """The command, its broken pipes told apart from other errors; typer would hide them."""

    @functools.wraps(function)
    def run(*arguments: Any, **values: Any) -> None:
        try:
            function(*arguments, **values)
        except BrokenPipeError as error:
            raise ReaderGoneError from error

    return run


def command() -> Any:
    """The whole command line, ready to be run with `.main(args=...)`."""
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=_SETTINGS,
    )
    app.callback()(_options)
    for name, function in _COMMANDS.items():
        app.command(name, context_settings=_SETTINGS)(_guarded(function))
    studies = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The papers' experiments.")
    for name, experiment in _STUDIES.items():
        studies.command(name, context_settings=_SETTINGS)(_guarded(experiment))
    app.add_typer(studies, name="study")
    return typer.main.get_command(app)
