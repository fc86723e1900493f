"""One task, two tasks."""

from overseer.core.counted import counted


def test_the_noun_goes_with_the_number() -> None:
    assert [counted(number, "task") for number in (0, 1, 2)] == ["0 tasks", "1 task", "2 tasks"]
