"""The daemon as a Twisted service: what it is made of, and the order in which it starts and stops.

An application may have one of its own, or several: nothing here touches the process as a whole.
"""

# mypy: allow-untyped-calls

import os
import random
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.web.resource import IResource

from overseer.client.client import Client
from overseer.client.errors import ConnectionLost, ConnectionRefused
from overseer.client.link import Receiver
from overseer.client.requests import Requests
from overseer.core.access import AccessRules, Refusal, RequestHead
from overseer.core.config import Changes, Config, keep_until_restart
from overseer.core.history import HistoryError, RestorableTask
from overseer.core.listen import StdioAddress, parse_listen, reaches_beyond_loopback
from overseer.core.process import ProcessSpec
from overseer.core.tokens import Identity
from overseer.core.worker import Worker, WorkerEvents
from overseer.documents import Documents
from overseer.drivers.interfaces import Action, DriverServices
from overseer.drivers.registry import Drivers, installed_drivers
from overseer.eventlog import EventLog
from overseer.given_config import GivenConfig, read_given
from overseer.identifiers import random_uuids
from overseer.interfaces import OwnNetworks
from overseer.lifecycle import autostart
from overseer.lifecycle.journal import Journal
from overseer.lifecycle.restore import restore
from overseer.lifecycle.retention import Retention
from overseer.lifecycle.subscriptions import Sink, Subscriptions
from overseer.lifecycle.supervisor import Defaults, Supervisor
from overseer.lifecycle.surroundings import Surroundings
from overseer.listeners import ListenError, listen_all, stop_listening, websocket_url
from overseer.local import LocalLink
from overseer.log_file import LogFile
from overseer.pages import Pages
from overseer.probes import Probes
from overseer.process import ControlGroups, ProcessSpawner, ProcessWorker, end_survivors
from overseer.services import Services
from overseer.stdio import StdioClient
from overseer.web.mounted import Mounted
from overseer.web.root import Root, make_site
from overseer.websocket import ClientFactory

if TYPE_CHECKING:
    from overseer.history.recorder import HistoryRecorder
    from overseer.webhooks import Webhooks


def _wall_clock() -> int:
    return time.time_ns() // 1000


_new_id = random_uuids().__next__


class OverseerService(Requests, Service):
    """A whole overseer: tasks, clients and listeners of one configuration.

    It can be asked everything that a client can ask, by the same methods; what is asked before it has started
    waits for that.

    :param config: the keys as a mapping, or as YAML text, or a ``Path`` to a file of it.
    :param reactor: the running reactor; None = Twisted's global one.
    :param listen: where it listens, in place of what the configuration says; ``()`` = nowhere.
    :param stdio: the descriptors that the listener ``stdio`` reads and writes.
    :param descriptor_limit: soft ``RLIMIT_NOFILE`` for the children, when the program raised its own.
    :raises overseer.core.config.ConfigError: when an action does not fit its driver.
    """

    name = "overseer"
    _log = Logger()

    def __init__(
        self,
        config: GivenConfig,
        *,
        reactor: Any = None,
        listen: Sequence[str] | None = None,
        drivers: Drivers | None = None,
        environment: Mapping[str, str] | None = None,
        descriptor_limit: int | None = None,
        stdio: tuple[int, int] = (0, 1),
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor  # noqa: PLC0415  # importing it chooses which one it is
        self._drivers = drivers or installed_drivers()
        self._environment = os.environ if environment is None else environment
        self._given_listen = None if listen is None else tuple(listen)
        self.config = config = self._read(config)
        self._reactor = reactor
        self._event_log = (
            EventLog(reactor, LogFile(config.log_file, config.log_rotate))
            if config.log_file
            else None
        )
        self._history = _open_history(reactor, config)
        self._instance = self._history.instance if self._history else os.urandom(16).hex()
        self._control_groups = ControlGroups(self._instance)
        self.spawner = ProcessSpawner(
            reactor, descriptor_limit=descriptor_limit, control_groups=self._control_groups
        )
        journal = Journal(self._history) if self._history else None
        sinks: list[Sink] = [self._event_log.append] if self._event_log else []
        if journal is not None:
            sinks.append(journal.record)
        self._webhooks = _open_webhooks(reactor, config, self._action_of)
        if self._webhooks is not None:
            sinks.append(self._webhooks.record)
        surroundings = Surroundings(
            clock=reactor,
            now=_wall_clock,
            random=random.random,
            subscriptions=Subscriptions(sinks),
            line_size=config.limits.line_size,
            json_lines=self._event_log is not None,
            journal=journal,
            prober=Probes(reactor).look,
        )
        self.supervisor = Supervisor(
            self._drivers.create_actions(config.actions, self._driver_services(config)),
            surroundings,
            _retention(config),
            _new_id,
            _defaults(config),
            history=self._history,
            archive=self._history,
        )
        self._services = Services(reactor, self.supervisor, random.random)
        documents = Documents(self.supervisor, lambda: self.config.name)
        self._manifest = documents.manifest
        self._clients = ClientFactory(reactor, self.supervisor, self._manifest, config.limits)
        self._pages = Pages(
            reactor,
            self.supervisor,
            self._clients,
            documents,
            history=self._history,
            event_log=self._event_log,
            orphans_ended=lambda: self.spawner.orphans.ended,
            ready=lambda: self._serving and bool(self.running),
        )
        self._root = Root(self._clients, self._pages.by_route, admit=self._admit)
        self._own_networks = OwnNetworks(reactor)
        self._access = self._access_rules(config)
        self._ports: Sequence[IListeningPort] = ()
        self._serving = False
        self._stdio = stdio
        self._stdio_client: StdioClient | None = None
        self._local_link: LocalLink | None = None
        self._local = Client(reactor, self._dial_local, timeout=None, reconnect=False)
        self.started: Deferred[None] = Deferred()
        """Fires when all listeners are open; fails with ListenError, LogFileError or HistoryError."""
        self.ended: Deferred[None] = Deferred()
        """Fires when the client on stdio has ended and nothing else is listened to."""

    def startService(self) -> None:
        """Open the listeners; :attr:`started` tells when they are open."""
        super().startService()
        self._tell_warnings()
        Deferred.fromCoroutine(self._start()).chainDeferred(self.started)

    def stopService(self) -> Deferred[None]:
        """Stop in order; fires when no process of any task is alive and every client is gone."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def kill(self) -> None:
        """End every process at once: what a second signal during a shutdown asks for."""
        self.supervisor.kill_all()
        self._services.kill()

    def reopen_log(self) -> None:
        """Open the event log anew: its file was moved away."""
        if self._event_log is not None:
            self._event_log.reopen()

    def reload(self, config: GivenConfig) -> None:
        """Take over another configuration, as far as that can be done without a restart.

        Tasks keep the action that they were started with, clients their connection. Where this raises, and
        in a shutdown, nothing changes.

        :param config: as for the service itself.
        :raises overseer.core.config.ConfigError: when it does not fit.
        """
        if not self.running:
            return
        config = self._read(config)
        changes = Changes.between(self.config, config)
        config = keep_until_restart(self.config, config)
        actions, access = self._actions_of(config), self._access_rules(config)
        self.config, self._access = config, access
        self.supervisor.reconfigure(actions, _defaults(config), _retention(config))
        self._services.run(actions)
        self._log.info("the configuration was reloaded: {changes}", changes=str(changes))
        for key in changes.waiting:
            self._log.warn('"{key}" has changed and needs a restart', key=key)
        self._tell_warnings()
        if changes.fields:
            self._warn_of_exposure()

    @property
    def urls(self) -> tuple[str, ...]:
        """What clients of this machine connect to."""
        return tuple(
            websocket_url(address, port)
            for address, port in zip(self._addresses, self._ports, strict=True)
        )

    def _read(self, given: GivenConfig) -> Config:
        config = read_given(given, self._drivers, self._environment)
        if self._given_listen is None:
            return config
        return attrs.evolve(config, listen=self._given_listen)

    def _tell_warnings(self) -> None:
        actions = self.supervisor.actions.values()
        of_drivers = (warning for action in actions for warning in action.warnings)
        for warning in (*self.config.warnings, *of_drivers):
            self._log.warn("{warning}", warning=str(warning))
        contained = [action.name for action in actions if action.settings.cgroup]
        if contained and (obstacle := self._control_groups.obstacle()):
            self._log.warn(
                "cgroup has no effect for {actions}: {obstacle}",
                actions=", ".join(contained),
                obstacle=obstacle,
            )

    async def _start(self) -> None:
        addresses = [parse_listen(text) for text in self.config.listen]
        self._addresses = [a for a in addresses if not isinstance(a, StdioAddress)]
        if self._event_log is not None:
            self._event_log.open()
        try:
            if self._history is not None:
                await self._history.open()
                ended = await end_survivors(self._reactor, self._instance, self._control_groups)
                if ended:
                    self._log.warn("ended {count} processes of an earlier overseer", count=ended)
            await self._listen()
        except (ListenError, HistoryError) as error:
            self._local.give_up(ConnectionRefused(str(error)))
            if self._history is not None:
                await self._history.close()
            if self._event_log is not None:
                self._event_log.close()
            raise
        if self._event_log is not None:
            self._event_log.start()
        if self._history is not None:
            self._history.tasks.addCallback(self._restore)
        if StdioAddress() in addresses:
            self._open_stdio()
        self._serving = True
        await self._local.connect()
        autostart.start_all(self.supervisor)
        self._services.run(self.supervisor.actions)

    def _restore(self, tasks: Sequence[RestorableTask]) -> None:
        assert self._history is not None
        if self.running:
            restore(self.supervisor, tasks, self._history)

    async def _listen(self) -> None:
        config = self.config
        site = make_site(self._root, connections=config.limits.connections, reactor=self._reactor)
        self._ports = await listen_all(
            self._reactor, self._addresses, site, unix_mode=config.unix_mode
        )
        for url in self.urls:
            self._log.info("listening on {url}", url=url)
        self._warn_of_exposure()

    def resource(self) -> IResource:
        """Return what serves ``/ws`` and all other paths below a place of a ``twisted.web`` site of one's own.

        Who may connect is decided by the same rules as for listeners of its own.
        """
        limit = self.config.limits.connections
        return Mounted(self._root, full=lambda: len(self._clients.clients) >= limit)

    @property
    def _client(self) -> Client:
        return self._local

    async def _dial_local(self, receiver: Receiver) -> LocalLink:
        self._local_link = LocalLink(
            self._reactor,
            receiver,
            self.supervisor,
            self._manifest,
            send_buffer=self.config.limits.send_buffer,
            budget=self._clients.budget,
        )
        return self._local_link

    def _warn_of_exposure(self) -> None:
        for address in self._addresses:
            if reaches_beyond_loopback(address) and not self.config.tokens:
                self._log.warn(
                    'listen "{address}" reaches beyond this machine without auth.tokens: every peer in'
                    " {networks} may start tasks; behind a proxy or in Docker every peer may look local",
                    address=str(address),
                    networks=self._trusted_networks(),
                )

    def _admit(self, head: RequestHead) -> Identity | Refusal:
        return self._access.admit(head)

    def _access_rules(self, config: Config) -> AccessRules:
        return AccessRules(
            allowed_origins=config.allowed_origins,
            allowed_hosts=config.allowed_hosts,
            own_names=[socket.gethostname()],
            trusted_cidrs=config.trusted_cidrs,
            own_networks=self._own_networks,
            tokens=config.tokens,
        )

    def _driver_services(self, config: Config) -> DriverServices:
        return DriverServices(
            start_process=self._start_process,
            reactor=self._reactor,
            instance=self._instance,
            environment={
                name: value
                for name, value in self._environment.items()
                if name not in config.token_variables
            },
        )

    def _start_process(self, spec: ProcessSpec, events: WorkerEvents) -> Worker:
        worker = ProcessWorker(self.spawner, spec, events, self._reactor)
        worker.start()
        return worker

    def _actions_of(self, config: Config) -> Mapping[str, Action]:
        """Return the actions of ``config``: those that there are where nothing has changed for them."""
        before = self.config
        # A child inherits no variable of a token: with other ones every action has another environment.
        same_environment = config.token_variables == before.token_variables
        kept = {
            name: self.supervisor.actions[name]
            for name, action in config.actions.items()
            if same_environment and before.actions.get(name) == action
        }
        others = {name: config.actions[name] for name in config.actions if name not in kept}
        made = self._drivers.create_actions(others, self._driver_services(config))
        actions = {**kept, **made}
        return {name: actions[name] for name in config.actions}

    def _trusted_networks(self) -> str:
        if self.config.trusted_cidrs:
            return ", ".join(self.config.trusted_cidrs)
        networks = map(str, self._own_networks())
        return f"this host's own networks ({', '.join(networks) or 'loopback'})"

    async def _stop(self) -> None:
        self._serving = False
        ports, self._ports = self._ports, ()
        await stop_listening(ports)
        self._pages.close()
        services_ended = self._services.stop()
        await self.supervisor.shut_down()
        await services_ended
        if self._local_link is not None:
            self._local_link.close("the overseer has stopped")
        self._local.give_up(ConnectionLost("the overseer has stopped"))
        delivered = self._webhooks.close() if self._webhooks is not None else None
        clients_gone = self._clients.close_all("the overseer is shutting down")
        if self._stdio_client is not None:
            await self._stdio_client.close_when_told()
        await clients_gone
        if delivered is not None:
            await delivered
        self.spawner.close()
        if self._history is not None:
            await self._history.close()
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
        client.open(*self._stdio)
        self._log.info("listening on stdio")

    def _stdio_ended(self, _ended: None) -> None:
        client = self._stdio_client
        assert client is not None
        if self._addresses:
            client.close_when_told()
        elif self.running:
            self.ended.callback(None)

    def _action_of(self, task_id: str) -> str:
        return self.supervisor.task(task_id).record.action


def _open_history(reactor: Any, config: Config) -> "HistoryRecorder | None":
    if not config.db:
        return None
    from overseer.history.recorder import HistoryRecorder  # noqa: PLC0415  # SQLite, for those who want it

    return HistoryRecorder(reactor, config.db, config.history, _wall_clock)


def _open_webhooks(
    reactor: Any, config: Config, action_of: Callable[[str], str]
) -> "Webhooks | None":
    if not config.webhooks:
        return None
    from overseer.http_client import OutgoingHttp  # noqa: PLC0415  # treq and TLS, for those who want it
    from overseer.webhooks import Webhooks  # noqa: PLC0415

    return Webhooks(
        reactor,
        config.webhooks,
        action_of,
        post=OutgoingHttp(reactor).post,
        new_id=_new_id,
        random=random.random,
    )


def _retention(config: Config) -> Retention:
    return Retention(
        replay_buffer=config.replay_buffer,
        replay_bytes=config.replay_bytes,
        finished_count=config.retain.count,
        finished_age=config.retain.age,
    )


def _defaults(config: Config) -> Defaults:
    return Defaults(retry=config.retry, pool=config.task_pool)
