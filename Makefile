# Two commands do everything on a fresh machine:  make demo   and   make test
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := runs/demo
# by file: the tests of a file share what its fixtures make
PYTEST := $(BIN)/python -m pytest -q -n auto --dist loadfile

.PHONY: help demo test test-full lint docs clean
help:
	@echo "make demo       set up, train on real handwritten digits, evaluate, predict, open the report"
	@echo "make test       set up, run the tests"
	@echo "make test-full  the same with the heavy ones (large variants, interruptions), and lint"
	@echo "make lint       style (ruff) and types (mypy)"
	@echo "make docs       build the documentation into build/site, to be opened as files or served"
	@echo "make clean      remove the environment and the demo's run folder"

# A stamp per set of extras: a second call installs nothing; a changed pyproject.toml installs again.
$(VENV)/.installed-%: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "maxvit needs Python 3.11 or newer, and $(PYTHON) is %d.%d: call make PYTHON=python3.12" % sys.version_info[:2])'
	@test -x $(BIN)/python || { echo "==> creating the environment $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "==> installing maxvit[$*] and PyTorch (several GB, a few minutes the first time)"
	@$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -e ".[$*]" \
	  | sed -u -n -e 's/^Collecting \([^ ]*\).*/    \1/p' -e 's/^Installing collected packages.*/==> unpacking/p' ; \
	  $(BIN)/python -m pip install --disable-pip-version-check -q -e ".[$*]"
	@touch $@

demo: $(VENV)/.installed-train
	@bash examples/demo.sh $(BIN) $(DEMO)

test: $(VENV)/.installed-dev
	@echo "==> tests"
	@$(PYTEST) --durations=10

test-full: $(VENV)/.installed-dev lint
	@echo "==> all tests, the heavy ones too"
	@$(PYTEST) --durations=30 -m ""

lint: $(VENV)/.installed-dev
	@$(BIN)/ruff check src tests examples benchmarks docs
	@$(BIN)/ruff format --check src tests examples benchmarks docs
	@$(BIN)/mypy

docs: $(VENV)/.installed-docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "==> open build/site/index.html"

clean:
	rm -rf $(VENV) $(DEMO)
