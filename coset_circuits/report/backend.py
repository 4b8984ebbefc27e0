"""Imports matplotlib whatever MPLBACKEND says: figures here are drawn without a backend.

A shell inside Colab or Jupyter inherits one that need not exist for the command.
"""

import os
import sys
from contextlib import suppress

if "matplotlib" not in sys.modules and (wanted := os.environ.pop("MPLBACKEND", "")):
    import matplotlib

    os.environ["MPLBACKEND"] = wanted
    # It stays the backend of the user's own plots, if there is one of that name.
    with suppress(ValueError):
        matplotlib.rcParams["backend"] = wanted
