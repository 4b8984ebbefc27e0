"""How long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


def silent(text: str, done: int, total: int) -> None:
    """The progress that nobody looks at."""


class Steps:
    """Parts of a piece of work, each of which reports its own progress.

    Args:
        progress: called with the progress of the whole; None for no call.
        total: the sum of the weights that will be given to the parts.
    """

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.begun = progress or silent, total, 0

    def part(self, weight: int = 1, title: str = "") -> Progress:
        """The progress of the next part; ``title`` goes before whatever it says."""
        start = self.begun
        self.begun += weight

        def within(text: str, done: int, total: int) -> None:
            share = min(weight * done // max(1, total), weight - 1)
            self.progress(f"{title}: {text}" if title else text, start + share, self.total)

        return within
