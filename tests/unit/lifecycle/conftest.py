"""Fixtures of the lifecycle layer's tests."""

from collections.abc import Iterator

import pytest
from lifecycle_fakes import World


@pytest.fixture
def world() -> Iterator[World]:
    """A supervisor at the beginning of time that after the test has to come to an end."""
    world = World()
    yield world
    world.settle()
