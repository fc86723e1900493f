"""Control groups: where they can be made, and what is in the way."""

from pathlib import Path

import pytest

from overseer.process import cgroup
from overseer.process.cgroup import ControlGroups, own_control_group

FIRST = "30 23 0:26 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"


@pytest.mark.parametrize(
    ("group", "mounts", "found"),
    [
        ("0::/", "4 3 0:2 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw", "/sys/fs/cgroup"),
        ("0::/a.slice/b", "4 3 0:2 / /sys/fs/cgroup rw - cgroup2 x rw", "/sys/fs/cgroup/a.slice/b"),
        ("0::/x/y", "4 3 0:2 /x /mnt rw shared:9 - cgroup2 none rw", "/mnt/y"),
        ("8:pids:/p\n0::/q", "4 3 0:2 / /c/unified rw - cgroup2 none rw", "/c/unified/q"),
        ("0::/other", "4 3 0:2 /x /mnt rw - cgroup2 none rw", None),
        ("0::/a", "", None),
        ("8:pids:/p", "4 3 0:2 / /c rw - cgroup2 none rw", None),
        ("", "", None),
    ],
)
def test_the_own_group(
    monkeypatch: pytest.MonkeyPatch, group: str, mounts: str, found: str | None
) -> None:
    """By the two files of /proc, beside version 1 and in a container."""
    files = {"/proc/self/cgroup": group, "/proc/self/mountinfo": FIRST + mounts}
    monkeypatch.setattr(cgroup, "_read", files.__getitem__)
    assert own_control_group() == found


def test_what_is_in_the_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is told, and nothing is left of the attempt."""
    monkeypatch.setattr(cgroup, "own_control_group", lambda: None)
    nowhere = ControlGroups("me")
    assert nowhere.obstacle() == "this system has no control groups of version 2"
    assert nowhere.earlier() == []
    with pytest.raises(OSError):  # noqa: PT011
        nowhere.new()
    monkeypatch.setattr(cgroup, "own_control_group", lambda: str(tmp_path))
    groups = ControlGroups("me")
    refused = f"none can be made in {tmp_path}: it is not delegated to this user"
    assert groups.obstacle() == refused
    (tmp_path / "cgroup.procs").touch()
    assert groups.obstacle() is None
    assert list(tmp_path.iterdir()) == [tmp_path / "cgroup.procs"]


def test_those_of_an_earlier_overseer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They are known by its name; removing one takes those below along."""
    monkeypatch.setattr(cgroup, "own_control_group", lambda: str(tmp_path))
    ControlGroups("other").new()
    mine = ControlGroups("me").new()
    (Path(mine.path) / "below").mkdir()
    (found,) = ControlGroups("me").earlier()
    assert found.path == mine.path
    found.remove()
    assert not Path(mine.path).exists()
    assert len(list(tmp_path.iterdir())) == 1
