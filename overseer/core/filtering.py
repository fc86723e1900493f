"""Which blocks of output pass a condition: whole lines are judged, pieces follow their line's first one."""

from collections.abc import Callable

from overseer.core.lines import Block

Select = Callable[[bytes], bytes | None]
"""Takes lines joined by ``\\n`` and returns those that are kept, None when none is."""


class OutputFilter:
    """The filter of one stream of one run."""

    def __init__(self, select: Select) -> None:
        self._select = select
        self._verdict: bool | None = None
        """On the line whose pieces are coming, None between lines."""

    def apply(self, block: Block) -> Block | None:
        """Return what is kept of a block, None when nothing is."""
        if block.unfinished:
            if self._verdict is None:
                self._verdict = self._select(block.data) is not None
            return block if self._verdict else None
        if self._verdict is None:
            kept = self._select(block.data)
            return None if kept is None else Block(kept)
        verdict, self._verdict = self._verdict, None
        rest_of_line, more, following = block.data.partition(b"\n")
        kept = self._select(following) if more else None
        if not verdict:
            return None if kept is None else Block(kept)
        return Block(rest_of_line if kept is None else rest_of_line + b"\n" + kept)
