"""``overseer doctor``: whether a daemon would find all it needs on this machine, and what to do where not.

Every check is a function that yields findings and changes nothing on the machine.
"""

import contextlib
import errno
import json
import os
import resource
import shutil
import socket
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import attrs
import click

from overseer.cli.terminal import styled
from overseer.core.config import Config, ConfigError, read_keys
from overseer.core.config.exec_driver import EXEC, ExecConfig
from overseer.core.counted import counted
from overseer.core.listen import (
    TcpAddress,
    UnixAddress,
    parse_listen,
    reaches_beyond_loopback,
)
from overseer.drivers.registry import installed_drivers
from overseer.process.descriptors import DescriptorLimit
from overseer.program import ConfigFileError, find_config, read_config

Level = Literal["ok", "warn", "fail"]

_FEW_TASKS = 100
_FEW_BYTES = 100 * 1024 * 1024
_CGROUPS = Path("/sys/fs/cgroup")
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@attrs.frozen
class Finding:
    """What a check says of its subject; ``advice`` is what to do where that is not well."""

    level: Level
    subject: str
    text: str
    advice: str = ""


def doctor(config_path: str | None, *, as_json: bool) -> int:
    """Print the findings; return 1 if anything would keep a daemon from working."""
    findings = []
    for finding in examine(config_path):
        findings.append(finding)
        if not as_json:
            click.echo(_line(finding))
    if as_json:
        click.echo(json.dumps([attrs.asdict(finding) for finding in findings], ensure_ascii=False))
    return int(any(finding.level == "fail" for finding in findings))


def examine(config_path: str | None) -> Iterator[Finding]:
    """Yield the findings about this machine and the configuration, which ``read_config`` finds."""
    config, findings = _configuration(config_path)
    yield from findings
    yield _user()
    if config is not None:
        yield from _permissions(config, find_config(config_path))
        for check in (_listeners, _database, _event_log, _programs):
            yield from check(config)
    yield from _limits()
    yield from _kernel()


def _line(finding: Finding) -> str:
    level = styled(f"{finding.level:<4}", _COLOURS[finding.level])
    advice = f" - {finding.advice}" if finding.advice else ""
    return f"{level}  {finding.subject}: {finding.text}{advice}"


def _configuration(path: str | None) -> tuple[Config | None, list[Finding]]:
    """Return the configuration, None where it is none: nothing can be said then of what it names."""
    name = find_config(path)
    try:
        config = read_config(path)
    except ConfigFileError as error:
        text, advice = str(error), "name it by --config or OVERSEER_CONFIG"
        return None, [Finding("fail", "configuration", text, advice)]
    except ConfigError as error:
        found = [Finding("fail", "configuration", str(problem)) for problem in error.problems]
        return None, found
    if name is None:
        text, advice = "there is none, so there are no actions", "write one with `overseer init`"
        return config, [Finding("warn", "configuration", text, advice)]
    told = (*config.warnings, *installed_drivers().warnings(config.actions.values()))
    warnings = [Finding("warn", "configuration", str(warning)) for warning in told]
    count = counted(len(config.actions), "action")
    return config, [Finding("ok", "configuration", f"{name}, {count}"), *warnings]


def _user() -> Finding:
    if os.geteuid() == 0:
        text = "the daemon and all its tasks would run as root"
        advice = "run it as a user of its own, or give the actions a `user`"
        return Finding("warn", "user", text, advice)
    return Finding("ok", "user", f"not root (user {os.geteuid()})")


def _permissions(config: Config, name: str | None) -> Iterator[Finding]:
    if name is not None and config.tokens:
        with contextlib.suppress(OSError):
            if Path(name).stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
                text = f"{name} configures tokens and can be read by others"
                yield Finding("warn", "permissions", text, f"chmod 600 {name}")


def _listeners(config: Config) -> Iterator[Finding]:
    for text in config.listen:
        address = parse_listen(text)
        match address:
            case TcpAddress():
                yield _tcp(address)
            case UnixAddress(path=path):
                yield _unix(path)
            case _:
                yield Finding("ok", f"listen {text}", "is opened by Twisted, not looked at")
        if not config.tokens and reaches_beyond_loopback(address):
            yield Finding(
                "warn",
                f"listen {text}",
                "other machines reach it, and no tokens are configured",
                "set auth.tokens, or listen on 127.0.0.1",
            )


def _tcp(address: TcpAddress) -> Finding:
    subject = f"listen {address}"
    try:
        family = socket.getaddrinfo(address.host, address.port)[0][0]
    except OSError as error:
        return Finding("fail", subject, str(error.strerror), "see the spelling in `listen`")
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host or "", address.port))
        except PermissionError:
            advice = "take a port above 1023, or give the service CAP_NET_BIND_SERVICE"
            return Finding("fail", subject, "this user may not use that port", advice)
        except OSError as error:
            if _answers_as_overseer(address):
                return Finding("ok", subject, "an overseer runs there already")
            if error.errno == errno.EADDRNOTAVAIL:
                text, advice = (
                    "this machine has no such address",
                    "see `ip address`, and change listen",
                )
                return Finding("fail", subject, text, advice)
            advice = (
                f"find out who has it by `ss -ltnp 'sport = :{address.port}'`, or change listen"
            )
            return Finding("fail", subject, str(error.strerror), advice)
    return Finding("ok", subject, "free")


def _answers_as_overseer(address: TcpAddress) -> bool:
    host = address.host or "127.0.0.1"
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    try:
        with socket.create_connection((host, address.port), 1) as connection:
            connection.sendall(request)
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def _unix(path: str) -> Finding:
    subject = f"listen unix:{path}"
    if Path(path).is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(path)
            except OSError:
                return Finding("ok", subject, "a stale socket, which the daemon would replace")
        return Finding("ok", subject, "somebody listens there already")
    return _folder(subject, Path(path))


def _folder(subject: str, file: Path) -> Finding:
    """Return whether ``file`` can be written, or made."""
    folder = file.parent
    if file.exists():
        if os.access(file, os.W_OK):
            return Finding("ok", subject, "can be written")
        return Finding("fail", subject, f"{file} cannot be written", "change its owner or its mode")
    if not folder.is_dir():
        return Finding("fail", subject, f"there is no folder {folder}", f"mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        text = f"no file can be made in {folder}"
        return Finding("fail", subject, text, "change the owner or the mode of the folder")
    return Finding("ok", subject, "can be made")


def _database(config: Config) -> Iterator[Finding]:
    if not config.db:
        yield Finding("ok", "db", "none: runs are not remembered")
        return
    subject, path = f"db {config.db}", Path(config.db)
    writable = _folder(subject, path)
    if writable.level != "ok" or not path.exists():
        yield writable
    else:
        yield _sound(subject, path)
    if path.parent.is_dir():
        yield from _space(subject, path.parent)


def _sound(subject: str, path: Path) -> Finding:
    try:
        # Read only, and never in the way of a daemon that uses it.
        with contextlib.closing(
            sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1)
        ) as database:
            (answer,) = database.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        answer = str(error)
    if answer == "ok":
        return Finding("ok", subject, "sound, can be written")
    advice = "move it away; the daemon begins a new one"
    return Finding("fail", subject, f"SQLite says: {answer}", advice)


def _event_log(config: Config) -> Iterator[Finding]:
    if config.log_file:
        path = Path(config.log_file)
        yield _folder(f"log_file {path}", path)
        if path.parent.is_dir():
            yield from _space(f"log_file {path}", path.parent)


def _space(subject: str, folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    if free < _FEW_BYTES:
        text = f"only {free // 1024 // 1024} MiB are free in {folder}"
        yield Finding("warn", subject, text, "make room: what does not fit is lost, tasks run on")


def _programs(config: Config) -> Iterator[Finding]:
    for name, action in config.actions.items():
        if action.type != "exec":
            continue
        subject = f"action {name}"
        try:
            keys, _ = read_keys(EXEC, action.config)
        except ConfigError:
            continue  # told with the configuration
        yield from _program(subject, ExecConfig.from_keys(action.config, keys))


def _program(subject: str, program: ExecConfig) -> Iterator[Finding]:
    entrypoint, folder = program.entrypoint, program.cwd
    if "[[" in entrypoint:
        yield Finding("ok", subject, "its program depends on parameters, not looked at")
        return
    found = shutil.which(entrypoint, path=program.env.get("PATH"))
    if found is None and Path(entrypoint).is_absolute() and Path(entrypoint).is_file():
        text, advice = f"{entrypoint} may not be executed", f"chmod a+x {entrypoint}"
        yield Finding("fail", subject, text, advice)
    elif found is None and not ("/" in entrypoint and folder):
        advice = "install it, or give `entrypoint` its whole path"
        yield Finding("fail", subject, f'there is no program "{entrypoint}"', advice)
    else:
        yield Finding("ok", subject, found or entrypoint)
    if folder and "[[" not in folder and not Path(folder).is_dir():
        yield Finding("fail", subject, f"there is no folder {folder}", f"mkdir -p {folder}")
    if program.user is not None and os.geteuid() != 0:
        text = f"only root can run it as user {program.user}"
        yield Finding("fail", subject, text, "take `user` away, or run the daemon as root")


def _limits() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = DescriptorLimit(soft, hard)
    tasks = "any number of" if limit.tasks == sys.maxsize else f"about {limit.tasks}"
    text = f"{hard} file descriptors, enough for {tasks} tasks at a time"
    if limit.tasks < _FEW_TASKS:
        level: Level = "warn" if limit.tasks else "fail"
        yield Finding(level, "descriptors", text, "raise the hard limit (LimitNOFILE=, ulimit -Hn)")
    else:
        yield Finding("ok", "descriptors", text)
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft == resource.RLIM_INFINITY:
        yield Finding("ok", "processes", "unlimited")
    elif soft < _FEW_TASKS:
        text = f"this user may have {soft} processes"
        yield Finding("warn", "processes", text, "raise the limit (LimitNPROC=, ulimit -u)")
    else:
        yield Finding("ok", "processes", f"{soft} at a time")


def _kernel() -> Iterator[Finding]:
    checks: tuple[tuple[str, Callable[[], bool], str, str], ...] = (
        ("pidfd", _has_pidfd, "the end of a process is told at once", "Linux 5.3 has it"),
        (
            "subreaper",
            _has_subreaper,
            "orphans of tasks are adopted and reaped",
            "Linux 3.4 has it; elsewhere init reaps them",
        ),
    )
    for name, there, text, advice in checks:
        if there():
            yield Finding("ok", name, text)
        else:
            yield Finding("warn", name, "this system has none", advice)
    yield _cgroup()


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True


def _has_subreaper() -> bool:
    return sys.platform == "linux"


def _cgroup() -> Finding:
    try:
        (line,) = [
            line
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if line.startswith("0::")
        ]
    except (OSError, ValueError):
        return Finding("warn", "cgroup", "this system has no unified hierarchy (cgroup v2)")
    folder = _CGROUPS / line.removeprefix("0::/")
    if os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK):
        return Finding("ok", "cgroup", f"version 2, and {folder} may be divided")
    advice = "with systemd: Delegate=yes"
    return Finding("warn", "cgroup", f"version 2, but {folder} may not be divided", advice)
