"""The file of the event log: private, rotated, followed, and no line of it torn."""

import os
import stat
from pathlib import Path

import pytest

from overseer.core.rotation import Rotation
from overseer.log_file import LogFile

LARGE = Rotation(max_size=1 << 30, backups=3)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def write(file: LogFile, lines: bytes) -> None:
    written = 0
    while written < len(lines):
        written = file.write(lines, written)


def test_a_new_file_is_private(path: Path) -> None:
    """Output may hold what is nobody else's business, from the first moment and after each rotation."""
    before = os.umask(0)
    try:
        file = LogFile(str(path), Rotation(max_size=4, backups=1))
        write(file, b"one\ntwo\n")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()] == [0o600, 0o600]


def test_rotation_keeps_the_newest(path: Path) -> None:
    """The oldest lines go, everything else is there in order."""
    file = LogFile(str(path), Rotation(max_size=6, backups=2))
    write(file, b"".join(b"%02d\n" % number for number in range(10)))
    names = ["events.jsonl.2", "events.jsonl.1", "events.jsonl"]
    assert [(path.parent / name).read_text().split() for name in names] == [
        ["04", "05"],
        ["06", "07"],
        ["08", "09"],
    ]
    assert len(list(path.parent.iterdir())) == 3


def test_without_backups_the_old_file_goes(path: Path) -> None:
    """``backups: 0`` bounds the log to one file."""
    file = LogFile(str(path), Rotation(max_size=4, backups=0))
    write(file, b"one\ntwo\n")
    assert [(p.name, p.read_bytes()) for p in path.parent.iterdir()] == [(path.name, b"two\n")]


def test_a_file_that_was_moved_away_is_made_anew(path: Path) -> None:
    """Whoever moves or deletes the log needs to tell nobody; emptied in place, it starts from there."""
    file = LogFile(str(path), Rotation(max_size=8, backups=1))
    write(file, b"one\n")
    path.rename(path.with_name("moved"))
    write(file, b"two\n")
    assert path.with_name("moved").read_bytes() == b"one\n"
    path.unlink()
    write(file, b"333\n444\n")
    os.truncate(path, 0)
    write(file, b"555\n")
    assert path.read_bytes() == b"555\n"
    assert not path.with_name("events.jsonl.1").exists()


def test_a_line_is_never_torn(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes a few bytes at a time gets whole lines, rotated only between them."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:2]))
    file = LogFile(str(path), Rotation(max_size=5, backups=3))
    write(file, b"one\ntwo\n")
    assert path.read_bytes() == b"two\n"
    assert path.with_name("events.jsonl.1").read_bytes() == b"one\n"


def test_a_line_whose_file_is_gone_is_passed_over(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its second half would be no JSON in the new file."""
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:2]))
    file = LogFile(str(path), LARGE)
    position = file.write(b"one\ntwo\n", 0)
    path.unlink()
    while position < 8:
        position = file.write(b"one\ntwo\n", position)
    assert path.read_bytes() == b"two\n"


def test_a_link_is_followed(path: Path) -> None:
    """The file behind it is rotated, where it lies; the link stays."""
    real = path.with_name("real")
    real.touch()
    path.symlink_to(real)
    write(LogFile(str(path), Rotation(max_size=4, backups=1)), b"one\ntwo\n")
    assert path.is_symlink()
    assert path.read_bytes() == b"two\n"
    assert path.with_name("real.1").read_bytes() == b"one\n"


def test_a_device_is_neither_rotated_nor_followed() -> None:
    """``log_file: /dev/stdout`` in a container is somebody else's to keep."""
    write(LogFile("/dev/null", Rotation(max_size=4, backups=1)), b"one\ntwo\n")
    assert not Path("/dev/null.1").exists()
    assert Path("/dev/null").is_char_device()


def test_a_line_is_written_on_after_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the file that has its beginning, and only while that is where it ends."""
    path = tmp_path / "log"
    file = LogFile(str(path), LARGE)
    lines = b"one\ntwo\nthree\n"

    def write_five(descriptor: int, data: memoryview) -> int:
        return real_write(descriptor, data[:5])

    real_write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_five)
        written = file.write(lines, 0)
    file.close()
    assert path.read_bytes() == b"one\nt"
    while written < len(lines):
        written = file.write(lines, written)
    assert path.read_bytes() == lines
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write_five)
        written = file.write(lines, 0)
    file.close()
    with path.open("ab") as other:
        other.write(b"somebody else\n")
    while written < len(lines):
        written = file.write(lines, written)
    assert path.read_bytes() == lines + b"one\ntsomebody else\nthree\n"
    file.close()
