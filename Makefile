# make demo   set everything up and explain the shipped S5 network
# make test   the same set-up, then all tests
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint clean gap

demo: $(READY)
	$(BIN)/coset-circuits compare s5

test: $(READY) gap
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

# The tests that ask GAP skip without it; root on Debian or Ubuntu gets it here, 15 MB.
APT := DEBIAN_FRONTEND=noninteractive timeout 90 apt-get -qq --yes
GAP := install --no-install-recommends --no-remove gap-core gap-smallgrp
gap:
	@command -v gap >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get && \
		{ $(APT) update; $(APT) --download-only $(GAP) && $(APT) $(GAP); }; } >/dev/null 2>&1 || \
		echo "Tests that ask GAP will be skipped; to run them: apt-get $(GAP)"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"coset-circuits needs Python 3.11 or later; $(PYTHON) is {v.major}.{v.minor}. Run: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV)
