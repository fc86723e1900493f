"""Every message of the protocol, defined once (protocol.md sections 2 and 3).

The decoder, the manifest, the documents for machines and the tables in ``docs/`` are all made from these
classes: field names, types, defaults and descriptions stand here and nowhere else.

A field whose default is ``None`` is left out of the JSON when it has no value.
"""

from typing import Annotated, ClassVar, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from overseer.core.process import Stream
from overseer.core.task import RunState, State

Delivery = Literal["direct", "broadcast", "broadcast_subscribers"]


def _field(description: str, kind: str | None = None) -> Meta:
    """Describe a field; ``kind`` is its type on the wire where Python's own says too little."""
    return Meta(description=description, extra={"kind": kind} if kind else None)


def _enum(name: str, values: tuple[str, ...], description: str | None = None) -> Meta:
    """Name the type of a field in the manifest, with its values in the order they are told in."""
    return Meta(description=description, extra={"name": name, "values": values})


StreamName = Annotated[Stream, _enum("Stream", get_args(Stream))]
TaskState = Annotated[State, _enum("TaskState", get_args(State))]
WorkerState = Annotated[Literal["running", "exited"], _enum("WorkerState", ("running", "exited"))]
RequestId = Annotated[str, _field("Chosen by the client and echoed in the answer; never empty.")]
EchoedId = Annotated[str, _field("The id of the request that this answers.")]
TaskId = Annotated[str, _field("The task.", "uuid")]
ActionName = Annotated[str, _field("A configured action.")]
Moment = Annotated[str, _field("When it happened, RFC 3339 in UTC.", "timestamp")]
Since = Annotated[int, _field("Only what happened at this instant or later.", "timestamp")]
ProcessId = Annotated[int, _field("Process id; 0 for a worker that is no process.")]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
SinceSeq = Annotated[
    int, Meta(ge=0, le=2**63 - 1, description="Only output lines numbered above this.")
]
WantsAck = Annotated[bool, _field("Answer with `ack`; for a `stop` that is before the task ends.")]


# ---------------------------------------------------------------------------- types within messages


class Value(Struct, omit_defaults=True):
    """A JSON object inside messages."""


class ParamSpec(Value):
    """One parameter of an action; required when it has no default."""

    default: Annotated[str | None, _field("Used when a start does not give it.")] = None
    validate: Annotated[str | None, _field("CEL expression that a value must satisfy.")] = None
    description: Annotated[str | None, _field("What it is for.")] = None


class ExcessConfig(Value, omit_defaults=False):
    """What happens to running tasks above a limit."""

    action: Annotated[
        str, _enum("ExcessAction", ("stop", "requeue"), "What is done; empty when off.")
    ] = ""
    order: Annotated[
        str, _enum("KillOrder", ("first", "last"), "Who goes first; empty when off.")
    ] = ""
    grace: Annotated[Count, _field("Seconds; 0 = the `stop_grace` of the action.")] = 0


class DisplacePolicy(Value, omit_defaults=False):
    """Whether a full queue drops a task for a new one."""

    enabled: Annotated[bool, _field("Whether it does.")] = False
    order: Annotated[str, _enum("KillOrder", ("first", "last"), "Which goes; empty when off.")] = ""


class QueueConfig(Value, omit_defaults=False):
    """How tasks wait for a slot."""

    enabled: Annotated[bool, _field("Whether they may wait.")] = False
    size: Annotated[int, _field("Most waiting tasks; 0 = no bound.")] = 0
    order: Annotated[
        str, _enum("QueueOrder", ("first", "last"), "`first`: the oldest goes first.")
    ] = "first"
    max_age: Annotated[int, _field("Seconds a task may wait; 0 = for ever.")] = 0
    displace: Annotated[DisplacePolicy, _field("What a full queue does.")] = msgspec.field(
        default_factory=DisplacePolicy
    )


class PoolConfig(Value):
    """How many tasks of an action may run."""

    limit: Annotated[int, _field("Most tasks at a time; 0 = unlimited.")]
    excess: Annotated[ExcessConfig, _field("What happens above the limit.")]
    queue: Annotated[QueueConfig | None, _field("How tasks wait; absent without a queue.")] = None


class RetryPolicy(Value):
    """When and how a task that exits is started again; what is absent is off."""

    restart_delay: Annotated[str | None, _field("Wait before a restart.", "duration")] = None
    restart_jitter: Annotated[
        str | None, _field("Random addition to the wait, at most this.", "duration")
    ] = None
    error_window: Annotated[
        str | None, _field("How long an exit counts; `0s` = for ever.", "duration")
    ] = None
    error_threshold: Annotated[
        Count | None, _field("Exits within the window that make the task errored; 0 = never.")
    ] = None


class QueueItem(Value):
    """A task that waits."""

    task_id: Annotated[str, _field("The task.")]
    action: Annotated[str, _field("Its action.")]
    queued_at: Annotated[str, _field("Since when it waits.", "timestamp")]
    position: Annotated[int, _field("Its place, from 0.")]
    forced: Annotated[bool, _field("Whether it was forced in once.")]


class PoolInfo(Value):
    """A pool as it is now."""

    limit: Annotated[int, _field("Most tasks at a time; 0 = unlimited.")]
    running: Annotated[int, _field("Tasks that hold a slot.")]
    queue_depth: Annotated[int, _field("Tasks that wait.")]
    queue_items: Annotated[list[QueueItem] | None, _field("Who waits, the next first.")] = None


class ActionMetrics(Value, omit_defaults=False):
    """Counters of one action since the daemon started."""

    tasks_started: Annotated[int, _field("Runs begun by a `start`, `reset` or `restart`.")] = 0
    tasks_completed: Annotated[int, _field("Tasks that ended `stopped`, or for a `restart`.")] = 0
    tasks_errored: Annotated[int, _field("Tasks that ended `errored`.")] = 0
    tasks_restarted: Annotated[int, _field("Automatic restarts.")] = 0
    total_output_lines: Annotated[int, _field("Lines that were told.")] = 0


class GlobalMetrics(ActionMetrics, omit_defaults=False):
    """Counters of the daemon since it started."""

    enqueued: Annotated[int, _field("Tasks that had to wait.")] = 0
    dequeued: Annotated[int, _field("Tasks that left a queue without running.")] = 0
    displaced: Annotated[int, _field("Those that a newer one displaced.")] = 0
    expired: Annotated[int, _field("Those that waited too long.")] = 0


class TaskMetrics(Value):
    """Counters of one task."""

    output_lines: Annotated[int, _field("Lines that were told.")]
    restart_count: Annotated[int, _field("Automatic restarts since the last `start`.")]
    runtime_ms: Annotated[int, _field("Run time of all its runs, milliseconds.")]
    last_exit_code: Annotated[int | None, _field("Of its last ended run.")] = None
    last_seq: Annotated[
        int | None, _field("Number of its newest line, where an earlier overseer has told some.")
    ] = None


class ActionInfo(Value, kw_only=True):
    """A configured action, as `describe` tells it."""

    name: Annotated[str, _field("What `start` calls it.")]
    type: Annotated[str, _field("The driver that runs it.")]
    description: Annotated[str | None, _field("What it does.")] = None
    params: Annotated[dict[str, ParamSpec] | None, _field("Its parameters.")] = None
    task_pool: Annotated[PoolConfig, _field("Its limits.")]
    retry: Annotated[RetryPolicy, _field("Its retry policy; `{}` when off.")]
    dedupe_key: Annotated[
        list[str] | None, _field("Parameters of which one set of values runs only once.")
    ] = None
    depends_on: Annotated[
        dict[str, str] | None,
        _field(
            "Actions that its tasks wait for, and how far these have to be: `started`, `ready` …"
        ),
    ] = None
    autostart: Annotated[
        bool | None, _field("Whether a task of it starts with the overseer; absent if not.")
    ] = None
    readiness: Annotated[
        str | None,
        _field("What shows that a task is ready: `http_get`, `tcp`, `exec` or `ready_log_line`."),
    ] = None


class TaskInfo(Value, kw_only=True):
    """A task, as `list` tells it."""

    task_id: TaskId
    action: ActionName
    params: Annotated[dict[str, str] | None, _field("As given to `start`, defaults added.")] = None
    queued_at: Annotated[str | None, _field("Since when it waits.", "timestamp")] = None
    state: Annotated[TaskState, _field("Where it is in its life.")]
    retry_policy: Annotated[RetryPolicy | None, _field("What holds for it.")] = None
    current_pid: Annotated[int | None, _field("Process id of the current run.")] = None
    worker_state: Annotated[WorkerState | None, _field("State of its newest run.")] = None
    restart_count: Annotated[int, _field("Automatic restarts since the last `start`.")]
    created_at: Annotated[str, _field("When the task first came to be.", "timestamp")]
    last_started_at: Annotated[str | None, _field("Start of its newest run.", "timestamp")] = None
    last_exited_at: Annotated[str | None, _field("End of its last ended run.", "timestamp")] = None
    last_exit_code: Annotated[int | None, _field("Exit code of its last ended run.")] = None
    error_message: Annotated[str | None, _field("What went wrong.")] = None
    last_signal: Annotated[
        str | None, _field("The signal that ended that run, as in `SIGKILL`; its exit code is -1.")
    ] = None
    ready: Annotated[
        bool | None, _field("Whether it is ready, by the probe of its action; absent without one.")
    ] = None
    waiting_for: Annotated[
        list[str] | None, _field("Actions it waits for, and how far they have to be: `db: ready`.")
    ] = None


class Run(Value, kw_only=True):
    """One run of a task, as the history keeps it."""

    task_id: TaskId
    run: Annotated[int, _field("Counts the runs of the task, from 1.")]
    action: ActionName
    params: Annotated[dict[str, str] | None, _field("Values of its parameters.")] = None
    attempt: Annotated[int | None, _field("Automatic restarts since the last start.")] = None
    pid: Annotated[int | None, _field("Process id.")] = None
    queued_at: Annotated[str | None, _field("Since when it waited.", "timestamp")] = None
    started_at: Annotated[str | None, _field("When it began.", "timestamp")] = None
    exited_at: Annotated[str | None, _field("When it ended.", "timestamp")] = None
    exit_code: Annotated[int | None, _field("Its exit code; -1 after a signal.")] = None
    signal: Annotated[str | None, _field("The signal that ended it.")] = None
    intentional: Annotated[bool, _field("Whether it was asked to end.")]
    state: Annotated[
        RunState,
        _enum(
            "RunState",
            get_args(RunState),
            "`lost`: the overseer ended first; `failed`: it could not begin; `cancelled`: it left its queue.",
        ),
    ]
    output_lines: Annotated[int, _field("Lines that were told.")]
    output_bytes: Annotated[int, _field("Bytes of these lines, line ends included.")]
    error_message: Annotated[str | None, _field("What went wrong.")] = None


class ActionStatistics(Value, kw_only=True):
    """What the newest runs of one action come to, 10,000 at most."""

    action: ActionName
    runs: Annotated[int, _field("How many runs these are.")]
    failures: Annotated[
        int, _field("Those that failed, were lost, or ended unasked with a code other than 0.")
    ]
    mean: Annotated[str | None, _field("Mean duration of those that ended.", "duration")] = None
    p95: Annotated[str | None, _field("95 of 100 ended within this.", "duration")] = None


# ---------------------------------------------------------------------------------------- requests


class Request(Struct, tag_field="type"):
    """A message from a client."""

    operation: ClassVar[str]
    direct: ClassVar[tuple[str, ...]]
    side_effects: ClassVar[dict[Delivery, tuple[str, ...]]] = {}
    can_fail: ClassVar[bool] = True
    for_viewers: ClassVar[bool] = False

    id: RequestId


class Start(Request, tag="start"):
    """Start a task. The client is subscribed to it before anything happens."""

    operation = "start_task"
    direct = ("queued", "started")
    side_effects: ClassVar[dict[Delivery, tuple[str, ...]]] = {
        "broadcast": ("queued", "dequeued", "pool_updated"),
        "broadcast_subscribers": ("started", "output", "exited", "restarting", "errored"),
    }

    action: ActionName
    task_id: Annotated[str | None, _field("A UUID is made when absent.", "uuid")] = None
    params: Annotated[dict[str, str] | None, _field("Values of the action's parameters.")] = None
    retry_policy: Annotated[
        RetryPolicy | None, _field("Over the action's own; even `{}` turns restarts on.")
    ] = None
    force: Annotated[bool, _field("Start at once, even above the limit of a pool.")] = False
    on_duplicate: Annotated[
        Literal["error", "attach", "replace"],
        _enum(
            "OnDuplicate",
            ("error", "attach", "replace"),
            "When such a task runs already: refuse, subscribe to that one, or stop it first.",
        ),
    ] = "error"


class Stop(Request, tag="stop"):
    """Stop a task: SIGTERM to its process group, SIGKILL after the grace."""

    operation = "stop_task"
    direct = ()
    side_effects: ClassVar[dict[Delivery, tuple[str, ...]]] = {
        "broadcast": ("dequeued",),
        "broadcast_subscribers": ("exited",),
    }

    task_id: TaskId
    grace: Annotated[
        float | None,
        _field("Time between SIGTERM and SIGKILL; the action's when absent.", "duration"),
    ] = None
    ack: WantsAck = False


class Restart(Request, tag="restart"):
    """Stop a task and start it again in the same slot; a finished one is just started again."""

    operation = "restart_task"
    direct = ("queued", "started")
    side_effects: ClassVar[dict[Delivery, tuple[str, ...]]] = {
        "broadcast_subscribers": ("exited", "started")
    }

    task_id: TaskId
    grace: Annotated[
        float | None,
        _field("Time between SIGTERM and SIGKILL; the action's when absent.", "duration"),
    ] = None


class Reset(Request, tag="reset"):
    """Start an errored task again, its count of exits at zero."""

    operation = "reset_task"
    direct = ("started",)

    task_id: TaskId


class Input(Request, tag="input"):
    """Give a task something to read: `stdin: pipe` or `pty: true` of its action. `ack` once its pipe has it."""

    operation = "send_input"
    direct = ("ack",)

    task_id: TaskId
    data: Annotated[str | None, _field("Text, written as UTF-8.")] = None
    data_base64: Annotated[str | None, _field("Any bytes, instead of `data`.")] = None
    eof: Annotated[
        bool, _field("Nothing follows: its stdin ends; in a terminal Ctrl-D is typed.")
    ] = False


class Signal(Request, tag="signal"):
    """Send a signal to the process group of a task; what it ends has not ended intentionally."""

    operation = "send_signal"
    direct = ("ack",)

    task_id: TaskId
    signal: Annotated[str, _field("Its name, as `HUP` or `SIGUSR1`.")]


class Resize(Request, tag="resize"):
    """Change the size of a task's terminal: `pty: true` of its action."""

    operation = "resize_terminal"
    direct = ("ack",)

    task_id: TaskId
    rows: Annotated[int, Meta(ge=1, le=65535, description="Lines of text.")]
    cols: Annotated[int, Meta(ge=1, le=65535, description="Characters of a line.")]


class List(Request, tag="list"):
    """List tasks."""

    operation = "list_tasks"
    direct = ("tasks",)
    for_viewers = True

    since: Annotated[
        int | None, _field("Only tasks that were created or changed since.", "timestamp")
    ] = None
    action: Annotated[str | None, _field("Only tasks of this action.")] = None
    state: Annotated[TaskState | None, _field("Only tasks in this state.")] = None
    limit: Annotated[Count | None, _field("At most so many, the newest.")] = None


class Replay(Request, tag="replay"):
    """Send what the ring buffer of a task holds to this client, oldest first."""

    operation = "replay_task"
    direct = ("output",)
    for_viewers = True

    task_id: TaskId
    since: Since | None = None
    since_seq: SinceSeq | None = None
    ack: WantsAck = False


class Subscribe(Request, tag="subscribe"):
    """Receive the events of a task from now on; `*` means every task, present and future."""

    operation = "subscribe_task"
    direct = ("subscribed",)
    for_viewers = True

    task_id: TaskId
    since_seq: SinceSeq | None = None
    epoch: Annotated[
        str | None, _field("The epoch that `since_seq` belongs to, from an earlier `subscribed`.")
    ] = None
    output: Annotated[bool, _field("`false`: lifecycle events only.")] = True
    snapshot: Annotated[bool, _field("Put the tasks as they are now into `subscribed`.")] = False


class Unsubscribe(Request, tag="unsubscribe"):
    """Receive the events of a task no longer."""

    operation = "unsubscribe_task"
    direct = ("unsubscribed",)
    for_viewers = True

    task_id: TaskId


class Describe(Request, tag="describe"):
    """List the configured actions, or describe one."""

    operation = "describe_actions"
    direct = ("actions",)
    for_viewers = True

    action: Annotated[str | None, _field("Only this action.")] = None


class PoolInfoRequest(Request, tag="pool_info"):
    """Ask how a pool is: an action's, or the global one."""

    operation = "get_pool_info"
    direct = ("pool_info",)
    for_viewers = True
    can_fail = False

    action: Annotated[str | None, _field("Whose pool; the global one when absent.")] = None


class SetPool(Request, tag="set_pool"):
    """Change the limits of a pool; what is not given keeps its value."""

    operation = "set_pool_limits"
    direct = ("pool_info",)
    side_effects: ClassVar[dict[Delivery, tuple[str, ...]]] = {"broadcast": ("pool_updated",)}

    action: Annotated[str | None, _field("Whose pool; the global one when absent.")] = None
    size: Annotated[Count | None, _field("Most tasks at a time; 0 = unlimited.")] = None
    limit: Annotated[Count | None, _field("Another name of size.")] = None
    queue_size: Annotated[Count | None, _field("Most waiting tasks; 0 = no queue.")] = None
    excess: Annotated[ExcessConfig | None, _field("What happens above the limit.")] = None


class Purge(Request, tag="purge"):
    """Let none of an action's tasks wait any more, or none at all."""

    operation = "purge_queue"
    direct = ("purged",)
    side_effects: ClassVar[dict[Delivery, tuple[str, ...]]] = {"broadcast": ("dequeued",)}
    can_fail = False

    action: Annotated[str | None, _field("Only this action's.")] = None


class Metrics(Request, tag="metrics"):
    """Ask for counters: of one action, of one task, or of the daemon."""

    operation = "get_metrics"
    direct = ("metrics",)
    for_viewers = True
    can_fail = False

    action: Annotated[str | None, _field("Of this action.")] = None
    task_id: Annotated[str | None, _field("Of this task.", "uuid")] = None


class History(Request, tag="history"):
    """Ask for runs of the past, newest first."""

    operation = "get_history"
    direct = ("history",)
    for_viewers = True

    task_id: Annotated[str | None, _field("Only runs of this task.", "uuid")] = None
    action: Annotated[str | None, _field("Only runs of this action.")] = None
    since: Annotated[int | None, _field("Only runs from this instant on.", "timestamp")] = None
    until: Annotated[int | None, _field("Only runs from before this instant.", "timestamp")] = None
    limit: Annotated[int, Meta(ge=1, le=1000, description="At most so many, the newest.")] = 100
    before: Annotated[str | None, _field("The `next` of the answer before: go on there.")] = None
    statistics: Annotated[bool, _field("Tell what they come to, too, action by action.")] = False


class Manifest(Request, tag="manifest"):
    """Ask for this description of the protocol."""

    operation = "get_manifest"
    direct = ("manifest",)
    for_viewers = True
    can_fail = False


# --------------------------------------------------------------------------------- server messages


class Message(Struct, omit_defaults=True, tag_field="type"):
    """A message from the server."""

    delivery: ClassVar[Delivery] = "direct"


class Started(Message, kw_only=True, tag="started"):
    """A run of a task has begun."""

    delivery = "broadcast_subscribers"

    id: Annotated[str, _field("The id of the `start`; empty for other subscribers.")]
    task_id: TaskId
    pid: ProcessId
    restart_of: Annotated[int | None, _field("Process id of the run before, on a restart.")] = None
    ts: Moment


class Queued(Message, kw_only=True, tag="queued"):
    """A task waits for a slot, or for what its action depends on."""

    delivery = "broadcast"

    id: Annotated[str, _field("The id of the `start`; empty for other clients.")]
    task_id: TaskId
    action: ActionName
    position: Annotated[
        int, _field("Its place, 1 = next; 0 = not before other actions have come far enough.")
    ]
    ts: Moment


class Dequeued(Message, tag="dequeued"):
    """A task waits no more, and did not run."""

    delivery = "broadcast"

    task_id: TaskId
    reason: Annotated[
        str,
        _field("`stopped`, `purged`, `displaced`, `expired`, `shutdown` or `failed`."),
    ]
    ts: Moment


class Output(Message, tag="output"):
    """One line that a task wrote."""

    delivery = "broadcast_subscribers"

    task_id: TaskId
    pid: ProcessId
    stream: Annotated[StreamName, _field("Where it was written.")]
    data: Annotated[str, _field("The line, without its end.")]
    ts: Moment
    seq: Annotated[int, _field("Number of the line within the task, from 1, without holes.")]
    partial: Annotated[bool, _field("The line goes on in the next message.")] = False


class Exited(Message, tag="exited"):
    """A run of a task has ended."""

    delivery = "broadcast_subscribers"

    task_id: TaskId
    pid: ProcessId
    exit_code: Annotated[int, _field("Exit code; -1 when a signal ended it.")]
    intentional: Annotated[bool, _field("A stop or a shutdown caused it.")]
    ts: Moment
    signal: Annotated[str | None, _field("The signal that ended it.")] = None
    reason: Annotated[str | None, _field("`timeout` when a time limit caused it.")] = None


class Ready(Message, tag="ready"):
    """A task has become ready, or is it no more, by the probe of its action; its end says so by itself."""

    delivery = "broadcast_subscribers"

    task_id: TaskId
    pid: ProcessId
    ready: Annotated[bool, _field("Whether it is.")]
    ts: Moment
    reason: Annotated[str | None, _field("Why it is not.")] = None


class Restarting(Message, tag="restarting"):
    """A task will be started again."""

    delivery = "broadcast_subscribers"

    task_id: TaskId
    pid: ProcessId
    restart_delay: Annotated[str, _field("How long it waits.", "duration")]
    attempt: Annotated[int, _field("Restarts in a row, from 1.")]
    ts: Moment


class Errored(Message, tag="errored"):
    """A task has failed for good."""

    delivery = "broadcast_subscribers"

    task_id: TaskId
    pid: ProcessId
    exit_count: Annotated[int, _field("Unintentional exits that counted.")]
    ts: Moment
    reason: Annotated[str | None, _field("Why, when it was not the exits.")] = None


class Lagged(Message, tag="lagged"):
    """Output that this client was too slow for; `replay` may still have it."""

    delivery = "direct"

    task_id: TaskId
    from_seq: Annotated[int, _field("First line that was left out.")]
    to_seq: Annotated[int, _field("Last line that was left out.")]
    dropped: Annotated[int, _field("How many lines were left out.")]


class Tasks(Message, tag="tasks"):
    """Answers `list`."""

    id: EchoedId
    tasks: Annotated[list[TaskInfo], _field("The tasks, oldest first.")]


class Actions(Message, tag="actions"):
    """Answers `describe`."""

    id: EchoedId
    actions: Annotated[list[ActionInfo], _field("The actions.")]


class PoolInfoResponse(Message, kw_only=True, tag="pool_info"):
    """Answers `pool_info` and `set_pool`."""

    id: EchoedId
    action: Annotated[str | None, _field("Whose pool; absent for the global one.")] = None
    pool: Annotated[PoolInfo, _field("The pool.")]
    pools: Annotated[
        dict[str, PoolInfo] | None, _field("With the global one: those of all actions.")
    ] = None


class PoolUpdated(Message, kw_only=True, tag="pool_updated"):
    """The limits of a pool have changed."""

    delivery = "broadcast"

    action: Annotated[str | None, _field("Whose pool; absent for the global one.")] = None
    pool: Annotated[PoolInfo, _field("The pool.")]


class Purged(Message, kw_only=True, tag="purged"):
    """Answers `purge`."""

    id: EchoedId
    action: Annotated[str | None, _field("Whose queue.")] = None
    count: Annotated[int, _field("How many tasks wait no more.")]


class MetricsResponse(Message, tag="metrics"):
    """Answers `metrics`, with exactly one of the three."""

    id: EchoedId
    global_: Annotated[GlobalMetrics | None, _field("Of the daemon.")] = msgspec.field(
        default=None, name="global"
    )
    action: Annotated[ActionMetrics | None, _field("Of the action.")] = None
    task: Annotated[TaskMetrics | None, _field("Of the task.")] = None


class Subscribed(Message, tag="subscribed"):
    """Answers `subscribe`."""

    id: EchoedId
    task_id: TaskId
    epoch: Annotated[str | None, _field("Changes when the numbering of lines starts again.")] = None
    first_seq: Annotated[int | None, _field("Oldest line that can be replayed.")] = None
    last_seq: Annotated[int | None, _field("Newest line, 0 before the first.")] = None
    tasks: Annotated[
        list[TaskInfo] | None, _field("With `snapshot`: the tasks at this very instant.")
    ] = None


class Unsubscribed(Message, tag="unsubscribed"):
    """Answers `unsubscribe`."""

    id: EchoedId
    task_id: TaskId


class HistoryResponse(Message, tag="history"):
    """Answers `history`."""

    id: EchoedId
    runs: Annotated[list[Run], _field("The runs, newest first.")]
    next: Annotated[str | None, _field("Where older ones begin: the `before` that goes on.")] = None
    statistics: Annotated[
        list[ActionStatistics] | None, _field("When asked for: of each action by name.")
    ] = None


class ManifestResponse(Message, tag="manifest"):
    """Answers `manifest`."""

    id: EchoedId
    manifest: Annotated[msgspec.Raw, _field("The description of the protocol.", "object")]


class Error(Message, tag="error"):
    """A request that could not be done; the connection stays open."""

    id: Annotated[str, _field("The id of the request; empty where it had none.")]
    message: Annotated[str, _field("What is wrong, and where.")]
    existing_task_id: Annotated[str | None, _field("The task in the way.", "uuid")] = None


class Ack(Message, tag="ack"):
    """Confirms a request that asked for it."""

    id: EchoedId
    task_id: Annotated[str | None, _field("The task.", "uuid")] = None
    last_seq: Annotated[int | None, _field("Number of the newest line of the task.")] = None


REQUESTS: tuple[type[Request], ...] = (
    Start,
    Stop,
    Restart,
    Reset,
    Input,
    Signal,
    Resize,
    List,
    Replay,
    Subscribe,
    Unsubscribe,
    Describe,
    PoolInfoRequest,
    SetPool,
    Purge,
    Metrics,
    History,
    Manifest,
)
MESSAGES: tuple[type[Message], ...] = (
    Started,
    Queued,
    Dequeued,
    Output,
    Exited,
    Ready,
    Restarting,
    Errored,
    Lagged,
    Tasks,
    Actions,
    PoolInfoResponse,
    PoolUpdated,
    Purged,
    MetricsResponse,
    Subscribed,
    Unsubscribed,
    HistoryResponse,
    ManifestResponse,
    Error,
    Ack,
)


def tag_of(kind: type[Struct]) -> str:
    """Return the ``type`` under which a message class goes over the wire."""
    tag = kind.__struct_config__.tag
    assert isinstance(tag, str)
    return tag
