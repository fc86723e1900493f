"""What many commands have in common: where the daemon is, how to print, and what values look like."""

import functools
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import click
from click.core import ParameterSource

from overseer.cli.lean import lean_import

DEFAULT_URL = "ws://127.0.0.1:8080/ws"


def or_before(context: click.Context, option: click.Parameter, value: Any) -> Any:
    """Return the value of an option: what stands after the command wins over what stands before it."""
    name = str(option.name)
    if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
        return value
    return context.find_root().params.get(name, value)


_URL = click.option(
    "--url",
    envvar="OVERSEER_URL",
    default=DEFAULT_URL,
    metavar="URL",
    callback=or_before,
    help=f"The daemon: ws://HOST:PORT/ws, wss://… or unix:/PATH; {DEFAULT_URL} by default.",
)
_TOKEN = click.option(
    "--token",
    envvar="OVERSEER_TOKEN",
    metavar="TOKEN",
    callback=or_before,
    help="A token of the daemon's; better in OVERSEER_TOKEN, which no list of processes shows.",
)
_JSON = click.option(
    "--json",
    "as_json",
    is_flag=True,
    callback=or_before,
    help="Print what the daemon says as JSON, for programs.",
)
_FAIL_WITH = click.option(
    "--fail-with",
    type=click.IntRange(1, 255),
    metavar="STATUS",
    help="The exit status when it is not the task that failed; else 1 to 9, by the reason.",
)


def shared_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every command that talks to a daemon knows, and ``overseer`` itself before the command."""
    return _URL(_TOKEN(_JSON(function)))


class AdvisingCommand(click.Command):
    """A command that says of a word too many where it may belong: ``advice``."""

    allow_extra_args = True

    def __init__(self, *arguments: Any, advice: str = "", **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.advice = advice

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the words of the command line, all of them."""
        rest = super().parse_args(ctx, args)
        if rest and not ctx.resilient_parsing:
            advice = f", {self.advice}" if self.advice else ""
            ctx.fail(f"Got unexpected extra argument ({rest[0]}){advice}")
        return rest


def talks(
    place: str,
    *,
    name: str | None = None,
    advice: str = "",
    ends_as_task: bool = False,
    connects: bool = True,
) -> Callable[[Callable[..., Any]], click.Command]:
    """Make a command of a declaration: its options and its help stand there, what it does at ``place``.

    That is a coroutine of a module here, as in ``tasks.stop``, which is given a connected client, ``as_json``
    and the options. It and all that it needs are imported only when the command runs.

    :param name: of the command, where its declaration cannot be called so.
    :param advice: what is said of a word too many.
    :param ends_as_task: its exit status is that of a task.
    :param connects: ``False``: it is given ``url`` and ``token``, and connects by itself.
    """

    def decorate(declaration: Callable[..., Any]) -> click.Command:
        def command(url: str, token: str | None, **options: Any) -> int:
            from overseer.cli.exit_status import CommandError  # noqa: PLC0415

            fail_with = options.pop("fail_with", None)
            module, _, function = place.rpartition(".")
            conversation = lean_import("overseer.cli.conversation", tls=url.startswith("wss:"))
            body = getattr(import_module(f"overseer.cli.{module}"), function)
            status: int
            try:
                if connects:
                    status = conversation.converse(url, token, functools.partial(body, **options))
                else:
                    status = conversation.run_reactor(body(url, token, **options))
            except CommandError as error:
                if fail_with is not None:
                    error.status = fail_with
                raise
            return status

        functools.update_wrapper(command, declaration)
        shared = shared_options(command)
        decorated = _FAIL_WITH(shared) if ends_as_task else shared
        return click.command(name, cls=AdvisingCommand, advice=advice)(decorated)

    return decorate


class Parameter(click.ParamType[tuple[str, str]]):
    """``name=value``; comes out as a pair."""

    name = "NAME=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Return name and value."""
        name, equals, text = str(value).partition("=")
        if not (name and equals):
            self.fail(f'expected NAME=VALUE, got "{value}"', param, ctx)
        return name, text


class Duration(click.ParamType[float]):
    """A duration as Go writes it, or a number of seconds; comes out as seconds."""

    name = "DURATION"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the seconds."""
        from overseer.core.durations import parse_duration  # noqa: PLC0415  # only where one is given

        text = str(value)
        try:
            seconds = parse_duration(f"{text}s" if text.replace(".", "", 1).isdecimal() else text)
        except ValueError:
            seconds = -1
        if seconds < 0:
            self.fail(f'expected a duration as in 10s, 5m or 1h30m, got "{text}"', param, ctx)
        return seconds


class Moment(click.ParamType[int]):
    """An instant, RFC 3339, or so long ago; comes out as microseconds since the epoch."""

    name = "WHEN"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the microseconds."""
        from overseer.core.durations import parse_duration  # noqa: PLC0415  # only where one is given
        from overseer.core.timestamps import parse_timestamp  # noqa: PLC0415  # see above

        text = str(value)
        try:
            return parse_timestamp(text)
        except ValueError:
            pass
        try:
            return int((time.time() - parse_duration(text)) * 1_000_000)
        except ValueError:
            self.fail(f'expected 10m, 1h30m or 2026-11-22T22:07:47Z, got "{text}"', param, ctx)


PARAMETER = Parameter()
DURATION = Duration()
MOMENT = Moment()
