"""A driver for overseer, complete: a task of it runs wc(1) on one file."""

from collections.abc import Mapping
from typing import Any

import overseer


class WcHandler(overseer.ActionHandler):
    parameters: Mapping[str, overseer.Parameter] = {"input": overseer.Parameter()}

    def start(
        self, task_id: str, params: Mapping[str, str], callbacks: overseer.WorkerCallbacks
    ) -> overseer.Worker:
        config = overseer.WorkerConfig(task_id, "wc", ["--bytes", "--", params["input"]])
        return overseer.start_worker(config, callbacks)


class WcFactory(overseer.ActionHandlerFactory):
    type = "wc"

    def create(self, config: overseer.DriverConfig, *_: Any, **__: Any) -> WcHandler:
        return WcHandler()


overseer.register_factory(WcFactory())
