"""The documents that describe a daemon to machines: its protocol, its HTTP paths, its actions as they are."""

from collections.abc import Callable, Mapping

import msgspec

from overseer._version import __version__
from overseer.lifecycle import views
from overseer.lifecycle.supervisor import Supervisor
from overseer.protocol.asyncapi import build_asyncapi
from overseer.protocol.manifest import build_manifest
from overseer.protocol.messages import ActionInfo
from overseer.protocol.openapi import build_openapi
from overseer.web import routes
from overseer.web.openapi import build_openapi as build_http_openapi


class Documents:
    """Each is made when somebody asks for it. ``name`` gives the daemon's own, which a reload may change."""

    def __init__(self, supervisor: Supervisor, name: Callable[[], str]) -> None:
        self._supervisor = supervisor
        self._name = name
        self.by_route: Mapping[routes.Route, Callable[[], bytes]] = {
            routes.MANIFEST: self.manifest,
            routes.OPENAPI_2: self._openapi,
            routes.OPENAPI_3_1: self._http_openapi,
            routes.ASYNCAPI: self._asyncapi,
        }

    def manifest(self) -> bytes:
        """Return the manifest as JSON."""
        return msgspec.json.encode(build_manifest(__version__, self._name(), self._actions()))

    def _openapi(self) -> bytes:
        return msgspec.json.encode(build_openapi(__version__, self._name(), self._actions()))

    def _http_openapi(self) -> bytes:
        return msgspec.json.encode(build_http_openapi(__version__, self._name(), routes.ROUTES))

    def _asyncapi(self) -> bytes:
        return msgspec.json.encode(build_asyncapi(__version__, self._name()))

    def _actions(self) -> list[ActionInfo]:
        return [views.action_info(self._supervisor, name) for name in self._supervisor.actions]
