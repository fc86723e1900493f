"""Every message of the protocol, defined once (protocol.md sections 2 and 3).

The decoder, the manifest, the documents for machines and the tables in ``docs/`` are all made from these
classes: field names, types, defaults and descriptions stand here and nowhere else.

A field whose default is ``None`` is left out of the JSON when it has no value.
"""

from typing import Annotated, ClassVar, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from overseer.core.process import Stream
from overseer.core.task import State

Direction = Literal["c2s", "s2c"]
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
    grace: Annotated[int, _field("Seconds.")] = 0


class PoolConfig(Value, omit_defaults=False):
    """How many tasks of an action may run."""

    limit: Annotated[int, _field("Most tasks at a time; 0 = unlimited.")] = 0
    excess: Annotated[ExcessConfig, _field("What happens above the limit.")] = msgspec.field(
        default_factory=ExcessConfig
    )


class RetryPolicy(Value):
    """When and how a task that exits is started again."""


class ActionInfo(Value, kw_only=True):
    """A configured action, as `describe` tells it."""

    name: Annotated[str, _field("What `start` calls it.")]
    type: Annotated[str, _field("The driver that runs it.")]
    description: Annotated[str | None, _field("What it does.")] = None
    params: Annotated[dict[str, ParamSpec] | None, _field("Its parameters.")] = None
    task_pool: Annotated[PoolConfig, _field("Its limits.")]
    retry: Annotated[RetryPolicy, _field("Its retry policy; `{}` when off.")]


class TaskInfo(Value, kw_only=True):
    """A task, as `list` tells it."""

    task_id: TaskId
    action: ActionName
    params: Annotated[dict[str, str] | None, _field("As given to `start`, defaults added.")] = None
    state: Annotated[TaskState, _field("Where it is in its life.")]
    current_pid: Annotated[int | None, _field("Process id of the current run.")] = None
    worker_state: Annotated[WorkerState | None, _field("State of its newest run.")] = None
    restart_count: Annotated[int, _field("Automatic restarts since the last `start`.")]
    created_at: Annotated[str, _field("When the task first came to be.", "timestamp")]
    last_started_at: Annotated[str | None, _field("Start of its newest run.", "timestamp")] = None
    last_exited_at: Annotated[str | None, _field("End of its last ended run.", "timestamp")] = None
    last_exit_code: Annotated[int | None, _field("Exit code of its last ended run.")] = None
    error_message: Annotated[str | None, _field("What went wrong.")] = None


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
    direct = ("started",)
    side_effects: ClassVar[dict[Delivery, tuple[str, ...]]] = {
        "broadcast_subscribers": ("started", "output", "exited", "errored")
    }

    action: ActionName
    task_id: Annotated[str | None, _field("A UUID is made when absent.", "uuid")] = None
    params: Annotated[dict[str, str] | None, _field("Values of the action's parameters.")] = None
    force: Annotated[bool, _field("Start at once, even above the limit of a pool.")] = False


class Stop(Request, tag="stop"):
    """Stop a task: SIGTERM to its process group, SIGKILL after the grace."""

    operation = "stop_task"
    direct = ()
    side_effects: ClassVar[dict[Delivery, tuple[str, ...]]] = {"broadcast_subscribers": ("exited",)}

    task_id: TaskId
    grace: Annotated[
        float | None,
        _field("Time between SIGTERM and SIGKILL; the action's when absent.", "duration"),
    ] = None
    ack: WantsAck = False


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


class Subscribed(Message, tag="subscribed"):
    """Answers `subscribe`."""

    id: EchoedId
    task_id: TaskId
    epoch: Annotated[str | None, _field("Changes when the numbering of lines starts again.")] = None
    first_seq: Annotated[int | None, _field("Oldest line that can be replayed.")] = None
    last_seq: Annotated[int | None, _field("Newest line, 0 before the first.")] = None


class Unsubscribed(Message, tag="unsubscribed"):
    """Answers `unsubscribe`."""

    id: EchoedId
    task_id: TaskId


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
    List,
    Replay,
    Subscribe,
    Unsubscribe,
    Describe,
    Manifest,
)
MESSAGES: tuple[type[Message], ...] = (
    Started,
    Output,
    Exited,
    Errored,
    Lagged,
    Tasks,
    Actions,
    Subscribed,
    Unsubscribed,
    ManifestResponse,
    Error,
    Ack,
)


def tag_of(kind: type[Struct]) -> str:
    """Return the ``type`` under which a message class goes over the wire."""
    tag = kind.__struct_config__.tag
    assert isinstance(tag, str)
    return tag
