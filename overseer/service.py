"""The daemon as a Twisted service: what it is made of, and the order in which it starts and stops."""

# mypy: allow-untyped-calls

import os
import random
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from overseer._version import __version__
from overseer.core.access import AccessRules
from overseer.core.config import Config
from overseer.core.listen import Address, parse_listen, reaches_beyond_loopback
from overseer.drivers.interfaces import DriverServices
from overseer.drivers.registry import Drivers, built_in_drivers
from overseer.lifecycle import views
from overseer.lifecycle.subscriptions import Subscriptions
from overseer.lifecycle.supervisor import Defaults, Retention, Supervisor
from overseer.lifecycle.task import Surroundings
from overseer.listeners import listen_all, stop_listening, websocket_url
from overseer.process import ProcessSpawner
from overseer.protocol.manifest import build_manifest
from overseer.web.root import make_site
from overseer.websocket import ClientFactory, ClientLimits


def _wall_clock() -> int:
    return time.time_ns() // 1000


def _new_id() -> str:
    return str(uuid.uuid4())


class OverseerService(Service):
    """A whole overseer: tasks, clients and listeners of one configuration.

    :param reactor: the running reactor.
    :param descriptor_limit: soft ``RLIMIT_NOFILE`` for the children, when the program raised its own.
    :raises overseer.core.config.ConfigError: when an action does not fit its driver.
    """

    name = "overseer"
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: Config,
        *,
        drivers: Drivers | None = None,
        environment: Mapping[str, str] | None = None,
        descriptor_limit: int | None = None,
    ) -> None:
        self.config = config
        self._reactor = reactor
        self.spawner = ProcessSpawner(reactor, descriptor_limit=descriptor_limit)
        services = DriverServices(
            spawner=self.spawner,
            clock=reactor,
            environment=os.environ if environment is None else environment,
        )
        surroundings = Surroundings(
            clock=reactor,
            now=_wall_clock,
            random=random.random,
            subscriptions=Subscriptions(),
            line_size=config.limits.line_size,
        )
        retention = Retention(
            replay_buffer=config.replay_buffer,
            replay_bytes=config.replay_bytes,
            finished_count=config.retain.count,
            finished_age=config.retain.age,
        )
        self.supervisor = Supervisor(
            (drivers or built_in_drivers()).create_actions(config, services),
            surroundings,
            retention,
            _new_id,
            Defaults(retry=config.retry, pool=config.task_pool),
        )
        self._clients = ClientFactory(
            reactor,
            self.supervisor,
            self._manifest,
            ClientLimits(
                message_size=config.limits.message_size,
                send_buffer=config.limits.send_buffer,
                total_send_buffer=config.limits.total_send_buffer,
            ),
        )
        self._ports: Sequence[IListeningPort] = ()
        self.started: Deferred[None] = Deferred()
        """Fires when all listeners are open, or fails with a ``ListenError``."""

    def startService(self) -> None:
        """Open the listeners; :attr:`started` tells when they are open."""
        super().startService()
        handlers = self.supervisor.actions.values()
        for warning in (*self.config.warnings, *(w for h in handlers for w in h.warnings)):
            self._log.warn("{warning}", warning=str(warning))
        Deferred.fromCoroutine(self._listen()).chainDeferred(self.started)

    def stopService(self) -> Deferred[None]:
        """Stop in order; fires when no process of any task is alive and every client is gone."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def kill(self) -> None:
        """End every process at once: what a second signal during a shutdown asks for."""
        self.supervisor.kill_all()

    @property
    def urls(self) -> tuple[str, ...]:
        """What clients of this machine connect to."""
        return tuple(
            websocket_url(address, port)
            for address, port in zip(self._addresses, self._ports, strict=True)
        )

    async def _listen(self) -> None:
        config = self.config
        self._addresses: list[Address] = [parse_listen(text) for text in config.listen]
        site = make_site(
            websocket_factory=self._clients,
            manifest=self._manifest,
            ready=lambda: bool(self._ports) and bool(self.running),
            access=AccessRules(
                allowed_origins=config.allowed_origins,
                allowed_hosts=config.allowed_hosts,
                own_names=[socket.gethostname()],
            ),
            connections=config.limits.connections,
            reactor=self._reactor,
        )
        self._ports = await listen_all(
            self._reactor, self._addresses, site, unix_mode=config.unix_mode
        )
        for address, url in zip(self._addresses, self.urls, strict=True):
            self._log.info("listening on {url}", url=url)
            if reaches_beyond_loopback(address):
                self._log.warn(
                    'listen "{address}" reaches beyond this machine, but peers that are not on loopback'
                    " are refused in this version",
                    address=str(address),
                )

    async def _stop(self) -> None:
        ports, self._ports = self._ports, ()
        await stop_listening(ports)
        await self.supervisor.shut_down()
        await self._clients.close_all("the overseer is shutting down")
        self.spawner.close()

    def _manifest(self) -> bytes:
        actions = [views.action_info(self.supervisor, name) for name in self.supervisor.actions]
        return msgspec.json.encode(build_manifest(__version__, self.config.name, actions))
