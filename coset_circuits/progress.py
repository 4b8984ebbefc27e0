"""Progress reports of long computations."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""A function that is called with (description, steps done, total steps)."""


def silent(text: str, done: int, total: int) -> None:
    """Ignore progress reports."""


class Steps:
    """Combine the progress of several parts into one overall progress.

    Args:
        progress: called with the overall progress; None reports nothing.
        total: the sum of all parts' weights.
    """

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.begun = progress or silent, total, 0

    def part(self, weight: int = 1, title: str = "") -> Progress:
        """The progress function of the next part; ``title`` is put before its descriptions."""
        start = self.begun
        self.begun += weight

        def within(text: str, done: int, total: int) -> None:
            share = min(weight * done // max(1, total), weight - 1)
            self.progress(f"{title}: {text}" if title else text, start + share, self.total)

        return within
