"""The configuration as plain values, checked and with its defaults filled in.

Durations are seconds, sizes are bytes.
"""

from collections.abc import Mapping
from typing import Literal

import attrs

from overseer.core.config.section import Section
from overseer.core.dependencies import Dependency
from overseer.core.history import Keep
from overseer.core.pool import PoolSettings
from overseer.core.readiness import ReadinessProbe
from overseer.core.retry import Layer
from overseer.core.rotation import Rotation
from overseer.core.tokens import Token
from overseer.core.webhooks import Webhook
from overseer.core.yaml_source import Problem


@attrs.frozen(kw_only=True)
class Retain:
    """How many finished tasks are kept in memory, and for how many seconds."""

    count: int
    age: float


@attrs.frozen(kw_only=True)
class Limits:
    """What one client, and all of them together, may use: bytes, and a number of connections."""

    message_size: int
    line_size: int
    send_buffer: int
    total_send_buffer: int
    connections: int


@attrs.frozen(kw_only=True)
class ActionConfig:
    """One action: a driver's ``type``, the driver's own ``config``, and what holds for any driver.

    ``stop_grace`` and the time limits are in seconds (0 = none); ``retry`` is False where the action wants
    no restarts whatever holds globally; ``replay_buffer`` is ``None`` where the global one holds.
    """

    name: str
    type: str
    description: str
    config: Section
    stop_grace: float
    timeout: float
    idle_timeout: float
    retry: Layer
    task_pool: PoolSettings
    dedupe_key: tuple[str, ...]
    backpressure: Literal["hold", "drop"]
    replay_buffer: int | None
    autostart: bool
    depends_on: tuple[Dependency, ...]
    readiness: ReadinessProbe | None
    restore: bool
    cgroup: bool


@attrs.frozen(kw_only=True)
class Config:
    """Everything that is configured. ``listen`` and ``trusted_cidrs`` hold texts as they were written.

    ``replay_bytes`` is in bytes, ``unix_mode`` a file mode. ``token_variables`` are the environment
    variables that tokens and secrets were read from, which are no child's business. ``warnings`` are for
    the operator: each says, by its ``str()``, where it stands and what it is about.
    """

    name: str
    listen: tuple[str, ...]
    unix_mode: int
    trusted_cidrs: tuple[str, ...]
    tokens: tuple[Token, ...]
    token_variables: frozenset[str]
    webhooks: tuple[Webhook, ...]
    allowed_origins: tuple[str, ...]
    allowed_hosts: tuple[str, ...]
    replay_buffer: int
    replay_bytes: int
    retain: Retain
    limits: Limits
    db: str
    history: Keep
    log_file: str
    log_rotate: Rotation
    task_pool: PoolSettings
    retry: Layer
    actions: Mapping[str, ActionConfig]
    warnings: tuple[Problem, ...] = ()
