"""The checker of annotations that the tests run under: an int may stand for a float (PEP 484).

Checking every call makes a comparison four times as long. So of a function's calls within one test
the 1st, 2nd, 4th, 8th and so on are checked; `make test-all` checks all of them.
"""

import functools
import inspect
from collections import Counter

import jaxtyping
from beartype import BeartypeConf, beartype
from rare import THOROUGH

calls: Counter = Counter()
"""Calls of each function in the running test."""

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
of_every_call = jaxtyping.jaxtyped


def of_some_calls(*, typechecker):
    def decorated(function):
        if inspect.isclass(function):
            if hasattr(function, "__dataclass_fields__") and "__init__" in vars(function):
                function.__init__ = decorated(function.__init__)
            return function
        code, checked = function.__code__, None

        @functools.wraps(function)
        def called(*args, **kwargs):
            nonlocal checked
            calls[code] = count = calls[code] + 1
            if count & (count - 1) and not THOROUGH:
                return function(*args, **kwargs)
            # A name that is defined further down is known by the first call.
            checked = checked or of_every_call(function, typechecker=typechecker)
            return checked(*args, **kwargs)

        return called

    return decorated


# What the import hook writes above every function.
jaxtyping.jaxtyped = of_some_calls
