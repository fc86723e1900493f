"""What clients are shown of tasks, actions, pools and counters: the live state as messages."""

import math
from collections.abc import Collection, Mapping

import msgspec

from overseer.core import pool
from overseer.core.durations import format_duration
from overseer.core.history import RunPage, RunQuery, RunRecord, RunStatistics
from overseer.core.metrics import ActionCounters, Counters
from overseer.core.retry import RetryPolicy as Policy
from overseer.core.retry import effective_policy
from overseer.core.task import TaskRecord
from overseer.core.timestamps import format_timestamp
from overseer.lifecycle.supervisor import Supervisor
from overseer.lifecycle.task import Task
from overseer.protocol.messages import (
    ActionInfo,
    ActionMetrics,
    ActionStatistics,
    DisplacePolicy,
    ExcessConfig,
    GlobalMetrics,
    History,
    HistoryResponse,
    PoolConfig,
    PoolInfo,
    QueueConfig,
    QueueItem,
    RetryPolicy,
    Run,
    TaskInfo,
    TaskMetrics,
    WorkerState,
)


def task_info(task: Task) -> TaskInfo:
    """Return what ``list`` tells of a task."""
    record = task.record
    return TaskInfo(
        task_id=record.task_id,
        action=record.action,
        params=task.shown_params or None,
        queued_at=_moment(record.queued_at),
        state=record.state,
        retry_policy=None if task.policy is None else _retry_policy(task.policy),
        current_pid=record.pid,
        worker_state=_worker_state(record),
        restart_count=record.restart_count,
        created_at=format_timestamp(record.created_at),
        last_started_at=_moment(record.last_started_at),
        last_exited_at=_moment(record.last_exited_at),
        last_exit_code=record.last_exit_code,
        error_message=record.error_message or None,
        last_signal=record.last_signal,
        ready=record.ready if _has_readiness(task) else None,
        waiting_for=list(record.waiting_for) or None,
    )


def _has_readiness(task: Task) -> bool:
    return task.assignment is not None and task.assignment.action.settings.readiness is not None


def action_info(supervisor: Supervisor, name: str) -> ActionInfo:
    """Return what ``describe`` tells of an action, with what holds for it in effect."""
    action = supervisor.action(name)
    settings = action.settings
    policy = effective_policy(supervisor.defaults.retry, settings.retry, None)
    described = action.describe()
    return msgspec.structs.replace(
        described,
        name=name,
        type=settings.type,
        description=settings.description or described.description,
        task_pool=_pool_config(supervisor.pools.limits(name)),
        retry=RetryPolicy() if policy is None else _retry_policy(policy),
        dedupe_key=list(settings.dedupe_key) or None,
        depends_on={one.action: one.condition for one in settings.depends_on} or None,
        autostart=settings.autostart or None,
        readiness=None if settings.readiness is None else settings.readiness.check.kind,
    )


def pool_info(supervisor: Supervisor, action: str | None) -> PoolInfo:
    """Return how the pool of an action is, or the global one."""
    info = supervisor.pools.info(action)
    items = [_queue_item(item) for item in info.queue_items]
    return PoolInfo(info.limit, info.running, info.queue_depth, items or None)


def global_metrics(counters: Counters) -> GlobalMetrics:
    """Return the counters of the daemon."""
    return GlobalMetrics(**_sums(counters.actions.values(), GlobalMetrics))


def action_metrics(counters: ActionCounters) -> ActionMetrics:
    """Return the counters of an action."""
    return ActionMetrics(**_sums([counters], ActionMetrics))


def task_metrics(task: Task, now: int) -> TaskMetrics:
    """Return the counters of a task; ``now`` is in microseconds since the epoch."""
    record = task.record
    running = now - (record.last_started_at or now) if record.pid is not None else 0
    return TaskMetrics(
        record.last_seq - record.inherited_seq,
        record.restart_count,
        (record.run_time + running) // 1000,
        record.last_exit_code,
        record.last_seq if record.inherited_seq else None,
    )


def run_query(request: History) -> RunQuery:
    """Return what a request asks of the history."""
    return RunQuery(
        task_id=request.task_id,
        action=request.action,
        since=request.since,
        until=request.until,
        limit=request.limit,
        before=request.before,
    )


def history(request_id: str, page: RunPage) -> HistoryResponse:
    """Return an answer of the history."""
    statistics = page.statistics
    return HistoryResponse(
        request_id,
        [_run(run) for run in page.runs],
        page.next,
        None if statistics is None else [_action_statistics(one) for one in statistics],
    )


def _run(run: RunRecord) -> Run:
    return Run(
        task_id=run.task_id,
        run=run.run,
        action=run.action,
        params=dict(run.params) or None,
        attempt=run.attempt or None,
        pid=run.pid,
        queued_at=_moment(run.queued_at),
        started_at=_moment(run.started_at),
        exited_at=_moment(run.exited_at),
        exit_code=run.exit_code,
        signal=run.signal,
        intentional=run.intentional,
        state=run.state,
        output_lines=run.output_lines,
        output_bytes=run.output_bytes,
        error_message=run.error_message or None,
    )


def _action_statistics(one: RunStatistics) -> ActionStatistics:
    mean, p95 = (
        None if seconds is None else format_duration(round(max(seconds, 0.0), 6))
        for seconds in (one.mean, one.p95)
    )
    return ActionStatistics(
        action=one.action, runs=one.runs, failures=one.failures, mean=mean, p95=p95
    )


def _sums(counters: Collection[ActionCounters], wanted: type[ActionMetrics]) -> Mapping[str, int]:
    return {name: sum(getattr(one, name) for one in counters) for name in wanted.__struct_fields__}


def _queue_item(item: pool.QueueItem) -> QueueItem:
    ticket = item.ticket
    return QueueItem(
        ticket.task_id,
        ticket.action,
        format_timestamp(ticket.queued_at),
        item.position,
        ticket.forced,
    )


def _pool_config(limits: pool.PoolLimits) -> PoolConfig:
    excess = limits.excess
    off = excess.action == "none"
    queue = None
    if limits.queue_size != 0:
        displaces = limits.displace == "true"
        queue = QueueConfig(
            enabled=True,
            size=limits.queue_size or 0,
            order=limits.order,
            max_age=_whole_seconds(limits.queue_timeout),
            displace=DisplacePolicy(displaces, "first" if displaces else ""),
        )
    return PoolConfig(
        limit=limits.size,
        queue=queue,
        excess=ExcessConfig()
        if off
        else ExcessConfig(excess.action, excess.order, _whole_seconds(excess.grace)),
    )


def _retry_policy(policy: Policy) -> RetryPolicy:
    return RetryPolicy(
        restart_delay=_duration(policy.restart_delay),
        restart_jitter=_duration(policy.restart_jitter),
        error_window=_duration(policy.error_window),
        error_threshold=policy.error_threshold or None,
    )


def _whole_seconds(seconds: float) -> int:
    # Rounded up: 0 would say that there is no limit.
    return math.ceil(seconds)


def _duration(seconds: float) -> str | None:
    return format_duration(seconds) if seconds else None


def _worker_state(record: TaskRecord) -> WorkerState | None:
    if record.pid is not None:
        return "running"
    return "exited" if record.last_exited_at is not None else None


def _moment(microseconds: int | None) -> str | None:
    return None if microseconds is None else format_timestamp(microseconds)
