"""Shape checking for the whole package, and the networks whose right answers are known."""

import gc
import os
import sys

from jaxtyping import config, install_import_hook

# Each process that a test starts would compile the package again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

install_import_hook("coset_circuits", "shape_checker.check")

import signal  # noqa: E402
from subprocess import CompletedProcess  # noqa: E402

import pytest  # noqa: E402
import shape_checker  # noqa: E402
import torch  # noqa: E402

import coset_circuits as cc  # noqa: E402
from coset_circuits import cli  # noqa: E402
from coset_circuits.networks import planted_coset, planted_gcr  # noqa: E402

# What was imported is no garbage; looking for some among it takes a tenth of the time of tests.
gc.freeze()
gc.set_threshold(50_000)

# A run that was started in the background may ignore Ctrl-C, and so would every child.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Tensors here are small: on a busy machine more threads only wait for each other.
torch.set_num_threads(1)


def pytest_runtest_setup():
    shape_checker.calls.clear()


@pytest.fixture
def unchecked():
    """Run as a user does, without the shape checker, whose own errors would come first."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.fixture
def command(monkeypatch, capfd, unchecked):
    """The command, run in this process: each start of Python and TransformerLens takes seconds."""

    def run(*arguments, cwd="."):
        monkeypatch.setattr(sys, "argv", ["coset-circuits", *map(str, arguments)])
        capfd.readouterr()
        with monkeypatch.context() as there, pytest.raises(SystemExit) as ended:
            there.chdir(cwd)
            cli.main()
        return CompletedProcess(sys.argv, ended.value.code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def coset_network():
    """A coset circuit of ⟨(1 2)⟩ in S4, 144 neurons."""
    return planted_coset(cc.group("S4"), "C2")


@pytest.fixture(scope="session")
def gcr_network():
    """GCR in the irrep (3,1) of S4, 54 neurons with the activation x²."""
    return planted_gcr(cc.group("S4"))


@pytest.fixture(scope="session")
def untrained():
    """A network of S4 that has learnt nothing."""
    return cc.GroupMLP.initialised(cc.group("S4"), d_mlp=32, d_embed=16, seed=0).double()
