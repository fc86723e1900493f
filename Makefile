# Everything happens in .venv, made on first use: `make run` and `make test` need python3, venv and make.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
CONFIG ?= examples/config.yaml
PREFIX ?= /usr/local
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
# With the folders, whose time changes when a file in them is deleted.
SOURCES = $(shell find overseer twisted -name '*.py' -o -name '*.sql' -o -type d ! -name __pycache__) pyproject.toml setup.py

.PHONY: run build install uninstall test test-parts test-daemon test-slow test-all lint format docs bench clean help

help:
	@echo "make run        start the daemon with $(CONFIG) on 127.0.0.1:8080"
	@echo "make build      make dist/sticky-overseer, one file for python3 of the same minor version"
	@echo "make install    install that, the man page and the systemd units below PREFIX ($(PREFIX)) and DESTDIR"
	@echo "make test       run the tests (under 5 minutes)"
	@echo "make test-slow  run the tests that take minutes (OVERSEER_STORM_SECONDS=600: the longest of them)"
	@echo "make test-all   run the tests on every CPython >= 3.11 of this machine"
	@echo "make lint       ruff and mypy"
	@echo "make docs       make a site of the documentation: docs/_build/index.html"
	@echo "make bench      compare with others, and write docs/performance.md anew (20 minutes)"

# A regular install, not an editable one: that hides the twistd plugin. What an earlier one left in build/
# would come along, deleted modules too.
$(VENV)/installed: $(SOURCES)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "overseer needs Python 3.11 or newer")'
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV)
	rm -rf build
	$(PIP) '.[examples]'
	touch $@

$(VENV)/test-installed: $(VENV)/installed
	$(PIP) '.[examples,test]'
	touch $@

$(VENV)/lint-installed: $(VENV)/test-installed
	$(PIP) '.[examples,test,lint]'
	touch $@

run: $(VENV)/installed
	@echo "overseer listens on ws://127.0.0.1:8080/ws. In another terminal, try:"
	@echo "    $(BIN)/python examples/client.py echo message=hello"
	@echo "    $(BIN)/python examples/client.py count to=5"
	@echo "    $(BIN)/overseer run count -p to=5"
	@echo "    curl -s http://127.0.0.1:8080/ws/manifest"
	@echo "Ctrl-C stops it and everything it runs."
	$(BIN)/overseer --config $(CONFIG)

build: dist/sticky-overseer

dist/sticky-overseer: $(VENV)/installed $(wildcard packaging/executable/*.py)
	$(BIN)/python packaging/executable/build.py $@

# As root only this is needed: `make build && sudo make install`.
ROOT = $(DESTDIR)$(PREFIX)
UNITS = $(ROOT)/lib/systemd/system
MAN = $(ROOT)/share/man/man1

install: dist/sticky-overseer
	install -d $(ROOT)/bin $(UNITS) $(MAN)
	install -m 755 dist/sticky-overseer $(ROOT)/bin/sticky-overseer
	ln -sf sticky-overseer $(ROOT)/bin/overseer
	sed 's,/usr/local/bin/,$(PREFIX)/bin/,' packaging/systemd/overseer.service >$(UNITS)/overseer.service
	install -m 644 packaging/systemd/overseer.socket $(UNITS)/overseer.socket
	install -m 644 docs/overseer.1 $(MAN)/overseer.1

uninstall:
	rm -f $(ROOT)/bin/sticky-overseer $(ROOT)/bin/overseer $(UNITS)/overseer.service $(UNITS)/overseer.socket
	rm -f $(MAN)/overseer.1

# From the tests' own folder, so that the installed package is tested and not the checkout. Without ARGS the two
# halves run side by side, each shown when it is done.
PYTEST = cd tests && ../$(BIN)/python -m pytest -m "not slow"

test: $(VENV)/test-installed
ifeq ($(ARGS),)
	@echo "running the tests in two halves, about four minutes"
	@$(MAKE) --no-print-directory -j2 --output-sync=target test-parts test-daemon
else
	$(PYTEST) $(ARGS)
endif

test-parts: $(VENV)/test-installed
	$(PYTEST) integration/test_[c-el]*.py integration/test_process_*.py unit test_boundaries.py

test-daemon: $(VENV)/test-installed
	$(PYTEST) integration --ignore-glob='*/test_[c-el]*' --ignore-glob='*/test_process_*'

# For so long clients do what they like with a daemon: tests/integration/test_storms.py.
test-slow: export OVERSEER_STORM_SECONDS ?= 600
test-slow: $(VENV)/test-installed
	cd tests && ../$(BIN)/python -m pytest -m slow $(ARGS)

test-all:
	sh tests/on-every-python.sh $(ARGS)

lint: $(VENV)/lint-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --strict examples/driver-package/overseer_wc.py

format: $(VENV)/lint-installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/docs-installed: $(VENV)/installed
	$(PIP) '.[examples,docs]'
	touch $@

# From nothing each time: a page that was not read again would not be warned about again.
docs: $(VENV)/docs-installed
	$(BIN)/sphinx-build --quiet --fresh-env --fail-on-warning --keep-going docs docs/_build

# Without ARGS everything, onto the page.
bench: ARGS ?= --json benchmarks/results.json --page docs/performance.md
bench: $(VENV)/test-installed
	$(BIN)/python -m benchmarks.run $(ARGS)

clean:
	rm -rf $(VENV) .venvs build dist docs/_build *.egg-info
