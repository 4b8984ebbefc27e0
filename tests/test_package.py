"""What is built from the checkout can be used without it."""

import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

import coset_circuits

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "coset_circuits"

pytestmark = pytest.mark.slow


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy, for a build leaves its traces, and takes up those of earlier ones."""
    folder = tmp_path_factory.mktemp("source")
    copytree(PACKAGE, folder / "coset_circuits", ignore=ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet")
    run(*pip, "--no-index", "--no-deps", "--no-build-isolation", "-w", folder, source, cwd=folder)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_every_file_of_the_package_and_nothing_else(source, wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry = next(name for name in names if name.endswith(".dist-info/entry_points.txt"))
        assert "coset-circuits = coset_circuits.cli:main" in archive.read(entry).decode()
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "coset_circuits").rglob("*")
        if path.is_file()
    }
    assert {"py.typed", "report/page.js", "report/page.css", "networks/zoo/s5.safetensors"} <= {
        name.removeprefix("coset_circuits/") for name in wanted
    }
    assert {name for name in names if ".dist-info/" not in name} == wanted


def test_source_distribution_holds_the_package_too(source, tmp_path):
    code = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    run(sys.executable, "-c", code, tmp_path, cwd=source)
    (path,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "coset_circuits").rglob("*")
        if path.is_file()
    }
    assert wanted | {"pyproject.toml", "README.md", "LICENSE"} <= names


def test_version_is_written_once(wheel):
    version = coset_circuits.__version__
    assert wheel.name.startswith(f"coset_circuits-{version}-")
    places = [PACKAGE, ROOT / "pyproject.toml"]
    files = [path for place in places for path in [place, *place.rglob("*.py")] if path.is_file()]
    found = [p for p in files if re.search(rf'"{re.escape(version)}"', p.read_text())]
    assert found == [PACKAGE / "__init__.py"]


def test_shipped_networks_load_from_the_wheel(wheel, tmp_path):
    unpacked, elsewhere = tmp_path / "unpacked", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    code = (
        "import coset_circuits as cc; print(cc.__file__)\n"
        "for name in cc.shipped(): cc.load(name); print(name)"
    )
    environment = os.environ | {"PYTHONPATH": str(unpacked)}
    where, *names = run(sys.executable, "-c", code, cwd=elsewhere, env=environment).splitlines()
    assert Path(where).is_relative_to(unpacked)
    assert names == sorted(path.stem for path in (PACKAGE / "networks" / "zoo").glob("*.json"))
    listed = run(sys.executable, "-m", "coset_circuits", "networks", cwd=elsewhere, env=environment)
    assert all(name in listed for name in names)
