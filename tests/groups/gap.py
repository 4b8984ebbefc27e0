"""A GAP process that answers questions: the oracle for subgroups and characters."""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from threading import Timer
from typing import Any

import numpy as np

from coset_circuits.groups import FiniteGroup

# Quiet, no break loop, no user's files, no saved workspace, no line editing.
FLAGS = ["-q", "-T", "-r", "-R", "-n"]
FUNCTIONS = Path(__file__).with_name("gap.g")


class Gap:
    """GAP with the functions of ``gap.g``, for a ``with`` statement."""

    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen(
            [program, *FLAGS, str(FUNCTIONS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> "Gap":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, function: str, *arguments: object, timeout: float = 60) -> Any:
        """What a GAP function answers to integers, texts of GAP and nested lists of them.

        Raises:
            RuntimeError: GAP met an error, ended, or took longer than ``timeout`` seconds.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        written = ",\n".join(_written(a) for a in arguments)
        watchdog = Timer(timeout, self._process.kill)
        watchdog.start()
        answer, said = None, []
        try:
            self._process.stdin.write(f'Answer({function}({written}));\nPrint("\\nDONE\\n");\n')
            self._process.stdin.flush()
            for line in self._process.stdout:
                if line == "DONE\n":
                    break
                if line.startswith("ANSWER "):
                    answer = line.removeprefix("ANSWER ")
                else:
                    said.append(line)
        except BrokenPipeError:
            pass
        finally:
            watchdog.cancel()
        if answer is None:
            raise RuntimeError(
                f"GAP did not answer {function} (time limit {timeout} s, its status is "
                f"{self._process.poll()}):\n{''.join(said)}"
            )
        return json.loads(answer)


def _written(argument: object) -> str:
    if isinstance(argument, list):
        # One line an entry: GAP reads no endless lines.
        return "[" + ",\n".join(map(_written, argument)) + "]"
    return str(argument)


class InGap:
    """A group's elements as GAP's permutations, a·b as GAP's ``a * b``.

    GAP multiplies from left to right: a group of permutations is sent by the inverse mappings,
    any other by the right factors' action on the elements.
    """

    def __init__(self, group: FiniteGroup) -> None:
        images = group.array.T
        if group.permutations is not None:
            images = np.argsort(group.permutations, axis=1)
        self._images = images + 1
        self.generators = self.elements(group.generators)
        self._index = {tuple(image): i for i, image in enumerate(self._images.tolist())}

    def elements(self, indices: Iterable[int]) -> list[list[int]]:
        """GAP's images of 1..n under each element."""
        return self._images[list(indices)].tolist()

    def index(self, images: list[int]) -> int:
        """The element that has these images in GAP."""
        return self._index[tuple(images)]
