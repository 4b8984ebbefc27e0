"""Import matplotlib whatever MPLBACKEND says; the figures here need no backend.

A shell inside Colab or Jupyter inherits a backend that may not exist for the command.
"""

import os
import sys
from contextlib import suppress

if "matplotlib" not in sys.modules and (wanted := os.environ.pop("MPLBACKEND", "")):
    import matplotlib

    os.environ["MPLBACKEND"] = wanted
    # The user's plots keep this backend, if it exists.
    with suppress(ValueError):
        matplotlib.rcParams["backend"] = wanted
