"""What a start may wait for, and the order in which actions start."""

from itertools import pairwise

import pytest

from overseer.core.dependencies import CycleError, Dependency, Progress, start_order


def test_each_comes_after_those_it_depends_on() -> None:
    order = start_order({"web": ["db", "migrate"], "migrate": ["db"], "db": [], "alone": []})
    assert set(order) == {"web", "migrate", "db", "alone"}
    assert order.index("db") < order.index("migrate") < order.index("web")


@pytest.mark.parametrize(
    ("dependencies", "cycle"),
    [
        ({"a": ["a"]}, ("a", "a")),
        ({"a": ["b"], "b": ["c"], "c": ["a"], "d": ["a"]}, ("a", "b", "c", "a")),
    ],
)
def test_a_circle_has_no_order(dependencies: dict[str, list[str]], cycle: tuple[str, ...]) -> None:
    """Each of those that are named waits for the next one."""
    with pytest.raises(CycleError) as caught:
        start_order(dependencies)
    named = caught.value.actions
    assert named[0] == named[-1]
    assert sorted(set(named)) == sorted(set(cycle))
    assert all(after in dependencies[before] for before, after in pairwise(named))


STARTED, READY = Dependency("db", "started"), Dependency("db", "ready")
COMPLETED, SUCCEEDED = (
    Dependency("db", "completed"),
    Dependency("db", "completed_successfully"),
)
ALL = (STARTED, READY, COMPLETED, SUCCEEDED)


def held(progress: Progress) -> tuple[Dependency, ...]:
    unmet = progress.unmet(ALL)
    return tuple(one for one in ALL if one not in unmet)


def test_an_action_comes_as_far_as_one_of_its_tasks() -> None:
    progress = Progress()
    assert held(progress) == ()
    progress.started("db", "a")
    progress.started("db", "b")
    progress.ready("db", "a", ready=True)
    assert held(progress) == (STARTED, READY)
    progress.ended("db", "b", succeeded=False)
    assert held(progress) == (STARTED, READY, COMPLETED)
    progress.ready("db", "a", ready=False)
    assert held(progress) == (STARTED, COMPLETED)
    progress.ended("db", "a", succeeded=True)
    assert held(progress) == (COMPLETED, SUCCEEDED)
    assert progress.unmet([Dependency("other", "started")]) != ()


def test_what_never_ran_has_not_completed() -> None:
    progress = Progress()
    progress.ended("db", "a", succeeded=True)
    assert held(progress) == ()


def test_the_last_one_to_end_decides_about_success() -> None:
    progress = Progress()
    for succeeded in (True, False):
        progress.started("db", "a")
        progress.ended("db", "a", succeeded=succeeded)
    assert held(progress) == (COMPLETED,)
