"""Do independent things at a time, on the cores that torch may use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

CPU = torch.device("cpu")
Each = Callable[..., Iterator[Any]]
"""``map``, or what does the same with several calls at a time."""


@contextmanager
def side_by_side(device: torch.device = CPU, wanted: bool = True) -> Iterator[Each]:
    """A ``map`` whose calls run at a time, in as many threads as torch has, without gradients.

    Each thread gives torch one core, which suits small arrays better than splitting every
    operation. ``map`` itself is given if it is not wanted, on a GPU, or if torch has one thread, as
    in a process that shares the machine with others.
    """
    count = torch.get_num_threads()
    if not wanted or device.type != CPU.type or count == 1:
        yield map
        return

    def start() -> None:
        torch.set_num_threads(1)
        torch.set_grad_enabled(False)

    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(count, initializer=start) as pool:
            yield pool.map
    finally:
        # Threads that start later have this number.
        torch.set_num_threads(count)
