"""What runs on other machines: the same versions and the same commands as here."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def jobs():
    return yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text())["jobs"]


def commands(job):
    return "\n".join(step.get("run", "") for step in job["steps"])


def test_pre_commit_has_the_pinned_versions():
    """An editor's ruff, the tests' and the hook's would otherwise disagree."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = {hook["id"]: repo["rev"] for repo in config["repos"] for hook in repo["hooks"]}
    ruff, pyright = (f"v{PINNED[name]}" for name in ("ruff", "pyright"))
    assert hooks == {"ruff-check": ruff, "ruff-format": ruff, "pyright": pyright}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_workflows_use_no_secrets_and_only_targets_that_exist(path):
    text = path.read_text()
    assert "secrets." not in text
    targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for job in yaml.safe_load(text)["jobs"].values():
        assert job["runs-on"] == "ubuntu-latest"
        assert set(re.findall(r"\bmake ([\w-]+)", commands(job))) <= set(targets)


def test_every_supported_python_is_tested():
    test = jobs()["test"]
    versions = test["strategy"]["matrix"]["python"]
    lowest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert versions == ["3.11", "3.12", "3.13"] and versions[0] == lowest
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + lowest.replace(".", "")
    assert "make test" in commands(test)


def test_the_wheel_is_tried_and_the_site_is_built():
    package, site = commands(jobs()["package"]), commands(jobs()["site"])
    (command,) = PROJECT["project"]["scripts"]
    assert f"{command} networks" in package and "constraints.txt" in package
    assert "make docs" in site


@pytest.mark.parametrize(("apt", "told"), [("exit 0", False), ("exit 100", True)])
@pytest.mark.parametrize("target", ["gap", "chromium"])
def test_what_some_tests_need_is_installed_or_its_command_is_printed(tmp_path, target, apt, told):
    """For root where there is apt-get, with stubs in the place of every program."""
    stubs = {"id": "echo 0", "timeout": 'shift; exec "$@"', "apt-get": f'echo "$*" >> log\n{apt}'}
    for name, text in stubs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    make = [shutil.which("make"), "--file", ROOT / "Makefile", target]
    run = subprocess.run(
        make, cwd=tmp_path, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    package = {"gap": "gap-core gap-smallgrp", "chromium": "chromium"}[target]
    asked = (tmp_path / "log").read_text().splitlines()
    assert run.returncode == 0, run.stderr
    assert asked[0].endswith("update") and asked[1].endswith(package)
    assert ("will be skipped; to run them: apt-get install" in run.stdout) == told
    assert len(asked) == (2 if told else 3)
