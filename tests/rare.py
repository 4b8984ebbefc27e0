"""Tests that take long and are run by `make test-all` only; a smaller case is in `make test`."""

import os

import pytest

THOROUGH = "THOROUGH" in os.environ
rare = pytest.mark.skipif(not THOROUGH, reason="takes long: make test-all runs it, or THOROUGH=1")
