# `make demo` runs the whole loop; `make test` passes the tests. Both install what they need.
.PHONY: demo test matrix lint docs audit bench bench-gpu install install-label-studio clean
SHELL := /bin/bash
PYTHON ?= python3
LABEL_STUDIO_VERSION := 1.23.2
# A wheel that pip would find (a CPU build of torch, say) is found by uv too.
comma := ,
empty :=
export UV_FIND_LINKS ?= $(subst $(empty) $(empty),$(comma),$(strip $(PIP_FIND_LINKS)))
# Many images set it. Without bytecode every process compiles torch, transformers and trl anew, which takes 3 to 14 s.
export PYTHONDONTWRITEBYTECODE :=
VENV ?= .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv

demo: install install-label-studio
	$(BIN)/python -m demo $(DEMO_ARGS)

# One worker more than most machines' cores: a third of the time, tests wait for servers.
test: $(VENV)/.installed-test install-label-studio
	$(BIN)/python -m pytest --numprocesses=3 --dist=loadfile $(TEST_ARGS)

# The suite on each Python that this machine has; CI has 3.11 only.
matrix:
	@for version in 3.11 3.12 3.13; do \
	  if python$$version -c "" 2> /dev/null; then \
	    $(MAKE) test PYTHON=python$$version VENV=.venv-$$version || exit 1; \
	  else \
	    echo "python$$version was not found"; \
	  fi; \
	done

lint: $(VENV)/.installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The tables at the end of docs/settings.md, from preference/settings.py.
docs: install
	sed -i.old '/^## All of them/,$$d' docs/settings.md && rm docs/settings.md.old
	$(BIN)/python -m preference.settings >> docs/settings.md

# Asks PyPI's advisory service about what is installed, so it needs the network and is no test.
audit: install
	$(UV) pip freeze --python $(VENV) --exclude-editable > $(VENV)/audited.txt
	$(UV) tool run pip-audit --disable-pip --no-deps --requirement $(VENV)/audited.txt

bench: $(VENV)/.installed-bench install-label-studio
	$(BIN)/python -m benchmarks $(if $(ONLY),--only $(ONLY))

# Random weights of a 1.5B's shape on the first GPU; says so if there is none.
bench-gpu: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks.gpu

install: $(VENV)/.installed
install-label-studio: .venv-label-studio/.installed-$(LABEL_STUDIO_VERSION)

$(UV):
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14) and "Pairloop needs Python 3.11, 3.12 or 3.13; try make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv

$(VENV)/.installed: pyproject.toml overrides.txt | $(UV)
	$(UV) pip install --quiet --python $(VENV) --overrides overrides.txt --editable '.[embedded]'
	touch $@

$(VENV)/.installed-%: $(VENV)/.installed
	$(UV) pip install --quiet --python $(VENV) --overrides overrides.txt --group $*
	touch $@

.venv-label-studio/.installed-$(LABEL_STUDIO_VERSION): | $(UV)
	$(PYTHON) -m venv .venv-label-studio
	$(UV) pip install --quiet --no-config --python .venv-label-studio label-studio==$(LABEL_STUDIO_VERSION)
	touch $@

clean:
	rm -rf .venv .venv-3.* .venv-label-studio .cache .demo
