"""One GAP for all tests of groups."""

import shutil

import pytest
from gap import Gap

INSTALL = "apt-get install --no-install-recommends gap-core gap-smallgrp"


@pytest.fixture(scope="session")
def gap():
    """GAP, which takes two seconds to start; without it the tests that ask it are skipped."""
    program = shutil.which("gap")
    if program is None:
        pytest.skip(f"GAP is not installed: {INSTALL}")
    with Gap(program) as process:
        if not process.ask("IdFunc", "IsBound(GAPInfo.PackagesLoaded.smallgrp)"):
            pytest.skip(f"GAP has no library of small groups: {INSTALL}")
        yield process
