"""What the commands do about pools: pools, pool set, purge."""

from collections.abc import Mapping
from typing import Literal

import click

from overseer.cli.conversation import require_action
from overseer.cli.exit_status import CommandError, ExitStatus
from overseer.cli.tables import print_json, print_table
from overseer.client import Client, RequestRefused
from overseer.protocol.messages import ExcessConfig, PoolInfo

EVERY_ACTION = "(all)"
"""What the global pool is called in tables: no action is called so."""


async def pools(client: Client, *, as_json: bool) -> None:
    """List all pools."""
    answer = await client.pool_info()
    if as_json:
        print_json({"global": answer.pool, "actions": answer.pools or {}})
    else:
        _print({EVERY_ACTION: answer.pool, **(answer.pools or {})})


async def set_pool(
    client: Client,
    *,
    as_json: bool,
    action: str | None,
    size: int | None,
    queue_size: int | None,
    excess: Literal["stop", "requeue"] | None,
) -> None:
    """Change a pool and show it."""
    if size is None and queue_size is None and excess is None:
        raise CommandError(
            ExitStatus.USAGE, "give at least one of --size, --queue-size and --excess"
        )
    surplus = None if excess is None else ExcessConfig(action=excess, order="first")
    try:
        answer = await client.set_pool(
            action=action, size=size, queue_size=queue_size, excess=surplus
        )
    except RequestRefused:
        if action is not None:
            await require_action(client, action)
        raise
    if as_json:
        print_json(answer.pool)
    else:
        _print({action or EVERY_ACTION: answer.pool})


async def purge(client: Client, *, as_json: bool, action: str | None, every: bool) -> None:
    """Empty the queue of an action, or all of them."""
    if every == (action is not None):
        raise CommandError(ExitStatus.USAGE, "purge takes either an action or --all")
    if action is not None:
        await require_action(client, action)
    answer = await client.purge(action=action)
    if as_json:
        print_json({"count": answer.count})
    else:
        what = "task waits" if answer.count == 1 else "tasks wait"
        click.echo(f"{answer.count} {what} no more")


def _print(some: Mapping[str, PoolInfo]) -> None:
    print_table(
        ("pool", "limit", "running", "waiting"),
        [
            (name, pool.limit or "unlimited", pool.running, pool.queue_depth)
            for name, pool in some.items()
        ],
    )
