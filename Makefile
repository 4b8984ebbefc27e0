# make demo   set everything up and explain the shipped S5 network
# make test   the same set-up, then the tests; its summary lists the long ones that it leaves out
# make docs   the site, in site/; open site/index.html
# make test-all   all tests, then with the lowest, the last 3.x and the newest TransformerLens
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
INSTALL := python -m pip install --quiet --disable-pip-version-check --editable '.[test,docs]'
PYTEST := python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal

.PHONY: demo test test-all docs lint clean gap chromium

demo: $(READY)
	$(BIN)/coset-circuits compare s5

test: $(READY) gap chromium
	$(BIN)/$(PYTEST)

# Of a version that is not pinned, the newest that the other pins allow. Types and the
# examples of the docs, some of which need 4, are checked with the pinned one, in make test.
MISSING := true
LENS_lowest := 3.5.0
LENS_last3 := 3.*
LENS_highest := 4.*
test-all: MISSING = exit 1
test-all: export FUZZED_NETWORKS = 10000
test-all: export THOROUGH = 1
test-all: test test-lens-lowest test-lens-last3 test-lens-highest

test-lens-%: gap chromium
	$(PYTHON) -m venv $(VENV)-lens-$*
	sed '/^transformer-lens==/d' constraints.txt > $(VENV)-lens-$*/constraints.txt
	PIP_CONSTRAINT=$(VENV)-lens-$*/constraints.txt $(VENV)-lens-$*/bin/$(INSTALL) 'transformer-lens==$(LENS_$*)'
	$(VENV)-lens-$*/bin/$(PYTEST) --ignore tests/test_static.py --ignore tests/test_docs.py

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# Some tests need GAP (15 MB) or a browser (100 MB) and skip without: root on Debian or Ubuntu gets both here.
APT := DEBIAN_FRONTEND=noninteractive timeout 120 apt-get -qq --yes
PROGRAMS_gap := gap
PACKAGES_gap := gap-core gap-smallgrp
PROGRAMS_chromium := chromium chromium-browser google-chrome google-chrome-stable
PACKAGES_chromium := chromium
gap chromium: PACKAGES = install --no-install-recommends --no-remove $(PACKAGES_$@)
gap chromium:
	@for name in $(PROGRAMS_$@); do command -v $$name && exit; done >/dev/null; \
		{ [ "$$(id -u)" = 0 ] && command -v apt-get && \
		{ $(APT) update; $(APT) --download-only $(PACKAGES) && $(APT) $(PACKAGES); }; } >/dev/null 2>&1 || \
		{ echo "Tests that need $@ will be skipped; to run them: apt-get $(PACKAGES)"; $(MISSING); }

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"coset-circuits needs Python 3.11 or later; $(PYTHON) is {v.major}.{v.minor}. Run: make PYTHON=python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt $(BIN)/$(INSTALL)
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-lens-* site
