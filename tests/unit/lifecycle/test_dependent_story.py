"""The story of tasks in pools, in which one action waits for the other besides."""

from test_pool_story import PoolStory

from overseer.core.dependencies import Dependency


class DependentStory(PoolStory):
    """Tasks of ``other`` start only while one of ``sleep`` runs."""

    def __init__(self) -> None:
        super().__init__()
        needed = Dependency("sleep", "started")
        self.world.actions["other"].settings.depends_on = (needed,)

    def dependents(self) -> set[str]:
        """Those that wait for what they depend on, by their own words."""
        return {info.task_id for info in self.world.infos() if info.waiting_for}

    def waiting(self) -> set[str]:
        """Those that the pools know, and those that wait for others: never both."""
        dependents = self.dependents()
        assert not dependents & super().waiting()
        return dependents | super().waiting()


TestDependentStory = DependentStory.TestCase
TestDependentStory.settings = PoolStory.TestCase.settings
