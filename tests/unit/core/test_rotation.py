"""When the event log starts a new file, and what becomes of the old ones."""

from hypothesis import given
from hypothesis import strategies as st

from overseer.core.rotation import Rotation

LINES = b"one\ntwo\nthree\n"


def test_what_fits_is_cut_behind_a_line() -> None:
    """No line is ever in two files."""
    rotation = Rotation(max_size=10, backups=1)
    assert rotation.fitting(LINES, 0, 0) == len(b"one\ntwo\n")
    assert rotation.fitting(LINES, 0, 6) == len(b"one\n")
    assert rotation.fitting(LINES, 8, 4) == len(LINES)


def test_a_file_without_room_for_a_line_is_rotated() -> None:
    """Nothing of the next line is written to it."""
    rotation = Rotation(max_size=10, backups=1)
    assert rotation.fitting(LINES, 4, 7) == 4
    assert rotation.fitting(LINES, 4, 10_000) == 4


def test_a_line_longer_than_a_file_gets_one_of_its_own() -> None:
    """It is written whole, and nothing else with it."""
    rotation = Rotation(max_size=2, backups=1)
    assert rotation.fitting(LINES, 0, 0) == len(b"one\n")


def test_backups_are_numbered_from_the_newest() -> None:
    """As logrotate does it: the highest number is the oldest, and goes first."""
    rotation = Rotation(max_size=1, backups=3)
    assert rotation.moves("x") == [("x.2", "x.3"), ("x.1", "x.2"), ("x", "x.1")]
    assert Rotation(max_size=1, backups=0).moves("x") == []


@given(st.lists(st.integers(0, 30), min_size=1), st.integers(1, 40))
def test_every_line_is_written_once_and_no_file_is_too_large(sizes: list[int], most: int) -> None:
    """Whatever the lines are: only a file of one line may be larger than the limit."""
    lines = b"".join(b"x" * size + b"\n" for size in sizes)
    rotation = Rotation(max_size=most, backups=1)
    files = [b""]
    start = 0
    while start < len(lines):
        end = rotation.fitting(lines, start, len(files[-1]))
        if end == start:
            files.append(b"")
        files[-1] += lines[start:end]
        start = end
    assert b"".join(files) == lines
    assert all(len(file) <= most or file.count(b"\n") == 1 for file in files)
    assert all(file.endswith(b"\n") for file in files)
