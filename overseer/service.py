"""The daemon as a Twisted service: what it is made of, and the order in which it starts and stops."""

# mypy: allow-untyped-calls

import os
import socket
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.stdio import StandardIO
from twisted.logger import Logger

from overseer._version import __version__
from overseer.core.access import AccessRules
from overseer.core.config import Config
from overseer.core.listen import StdioAddress, parse_listen, reaches_beyond_loopback
from overseer.drivers.interfaces import DriverServices
from overseer.drivers.registry import Drivers, built_in_drivers
from overseer.eventlog import EventLog, LogFile
from overseer.interfaces import OwnNetworks
from overseer.lifecycle.subscriptions import Subscriptions
from overseer.lifecycle.supervisor import Retention, Supervisor
from overseer.lifecycle.task import Surroundings
from overseer.listeners import ListenError, listen_all, stop_listening, websocket_url
from overseer.process import ProcessSpawner
from overseer.protocol.asyncapi import build_asyncapi
from overseer.protocol.manifest import build_manifest
from overseer.protocol.openapi import build_openapi
from overseer.stdio import StdioClient
from overseer.web import routes
from overseer.web.openapi import build_openapi as build_http_openapi
from overseer.web.root import make_site
from overseer.websocket import ClientFactory, ClientLimits

_LAST_STANDARD = 2  # stderr


def _wall_clock() -> int:
    return time.time_ns() // 1000


def _new_id() -> str:
    return str(uuid.uuid4())


class OverseerService(Service):
    """A whole overseer: tasks, clients and listeners of one configuration.

    :param reactor: the running reactor.
    :param stdio: the descriptors that the listener ``stdio`` reads and writes.
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
        stdio: tuple[int, int] = (0, 1),
    ) -> None:
        self.config = config
        self._reactor = reactor
        self.spawner = ProcessSpawner(reactor, descriptor_limit=descriptor_limit)
        services = DriverServices(
            spawner=self.spawner,
            clock=reactor,
            environment={
                name: value
                for name, value in (os.environ if environment is None else environment).items()
                if name not in config.token_variables
            },
        )
        self._event_log = (
            EventLog(reactor, LogFile(config.log_file, config.log_rotate))
            if config.log_file
            else None
        )
        surroundings = Surroundings(
            clock=reactor,
            now=_wall_clock,
            subscriptions=Subscriptions([self._event_log.append] if self._event_log else []),
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
        self._own_networks = OwnNetworks(reactor)
        self._ports: Sequence[IListeningPort] = ()
        self._stdio = stdio
        self._stdio_client: StdioClient | None = None
        self.started: Deferred[None] = Deferred()
        """Fires when all listeners are open, or fails with a ``ListenError`` or a ``LogFileError``."""
        self.ended: Deferred[None] = Deferred()
        """Fires when the client on stdio has ended and nothing else is listened to."""

    def startService(self) -> None:
        """Open the listeners; :attr:`started` tells when they are open."""
        super().startService()
        handlers = self.supervisor.actions.values()
        for warning in (*self.config.warnings, *(w for h in handlers for w in h.warnings)):
            self._log.warn("{warning}", warning=str(warning))
        Deferred.fromCoroutine(self._start()).chainDeferred(self.started)

    def stopService(self) -> Deferred[None]:
        """Stop in order; fires when no process of any task is alive and every client is gone."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def kill(self) -> None:
        """End every process at once: what a second signal during a shutdown asks for."""
        self.supervisor.kill_all()

    def reopen_log(self) -> None:
        """Open the event log anew: its file was moved away."""
        if self._event_log is not None:
            self._event_log.reopen()

    @property
    def urls(self) -> tuple[str, ...]:
        """What clients of this machine connect to."""
        return tuple(
            websocket_url(address, port)
            for address, port in zip(self._addresses, self._ports, strict=True)
        )

    async def _start(self) -> None:
        addresses = [parse_listen(text) for text in self.config.listen]
        self._addresses = [a for a in addresses if not isinstance(a, StdioAddress)]
        if self._event_log is not None:
            self._event_log.open()
        try:
            await self._listen()
        except ListenError:
            if self._event_log is not None:
                self._event_log.close()
            raise
        if self._event_log is not None:
            self._event_log.start()
        if StdioAddress() in addresses:
            self._open_stdio()

    async def _listen(self) -> None:
        config = self.config
        site = make_site(
            websocket_factory=self._clients,
            documents={
                routes.MANIFEST: self._manifest,
                routes.OPENAPI_2: self._openapi,
                routes.OPENAPI_3_1: self._http_openapi,
                routes.ASYNCAPI: self._asyncapi,
            },
            ready=lambda: bool(self._ports) and bool(self.running),
            access=AccessRules(
                allowed_origins=config.allowed_origins,
                allowed_hosts=config.allowed_hosts,
                own_names=[socket.gethostname()],
                trusted_cidrs=config.trusted_cidrs,
                own_networks=self._own_networks,
                tokens=config.tokens,
            ),
            connections=config.limits.connections,
            reactor=self._reactor,
        )
        self._ports = await listen_all(
            self._reactor, self._addresses, site, unix_mode=config.unix_mode
        )
        for address, url in zip(self._addresses, self.urls, strict=True):
            self._log.info("listening on {url}", url=url)
            if reaches_beyond_loopback(address) and not config.tokens:
                self._log.warn(
                    'listen "{address}" reaches beyond this machine without auth.tokens: every peer in'
                    " {networks} may start tasks; behind a proxy or in Docker every peer may look local",
                    address=str(address),
                    networks=self._trusted_networks(),
                )

    def _trusted_networks(self) -> str:
        if self.config.trusted_cidrs:
            return ", ".join(self.config.trusted_cidrs)
        networks = map(str, self._own_networks())
        return f"this host's own networks ({', '.join(networks) or 'loopback'})"

    async def _stop(self) -> None:
        ports, self._ports = self._ports, ()
        await stop_listening(ports)
        await self.supervisor.shut_down()
        clients_gone = self._clients.close_all("the overseer is shutting down")
        if self._stdio_client is not None:
            await self._stdio_client.close_when_told()
        await clients_gone
        self.spawner.close()
        if self._event_log is not None:
            await self._event_log.close()

    def _open_stdio(self) -> None:
        client = self._stdio_client = StdioClient(
            self._reactor,
            self.supervisor,
            self._manifest,
            message_size=self.config.limits.message_size,
            send_buffer=self.config.limits.send_buffer,
            budget=self._clients.budget,
        )
        client.when_all_asked().addCallback(self._stdio_ended)
        self._log.info("listening on stdio")
        stdin, stdout = self._stdio
        client.when_gone().addCallback(self._close_stdio)
        StandardIO(  # type: ignore[call-arg]  # mypy takes the one of Windows
            client, stdin=stdin, stdout=stdout, reactor=self._reactor
        )

    def _close_stdio(self, _gone: None) -> None:
        # Twisted leaves them open. The process's own are not ours to close.
        for descriptor in self._stdio:
            if descriptor > _LAST_STANDARD:
                os.close(descriptor)

    def _stdio_ended(self, _ended: None) -> None:
        client = self._stdio_client
        assert client is not None
        if self._addresses:
            client.close_when_told()
        elif self.running:
            self.ended.callback(None)

    def _manifest(self) -> bytes:
        return msgspec.json.encode(
            build_manifest(__version__, self.config.name, self.supervisor.describe())
        )

    def _openapi(self) -> bytes:
        return msgspec.json.encode(
            build_openapi(__version__, self.config.name, self.supervisor.describe())
        )

    def _http_openapi(self) -> bytes:
        return msgspec.json.encode(build_http_openapi(__version__, self.config.name, routes.ROUTES))

    def _asyncapi(self) -> bytes:
        return msgspec.json.encode(build_asyncapi(__version__, self.config.name))
