# The two commands of the README are `make demo` and `make test`; `make help` lists the rest.
# What was installed is remembered in stamp files inside each environment, so that running again is quick.

PYTHON ?= python3
VENV ?= .venv
STREAM_VENV ?= .venv-stream
PYTEST_ARGS ?=
PYTEST_JOBS ?= 2

PIP_INSTALL = -m pip install --quiet --disable-pip-version-check --constraint constraints/tested.txt
REQUIREMENTS = pyproject.toml constraints/tested.txt
PARALLEL = --numprocesses $(PYTEST_JOBS) --dist loadfile
WINDOW = $(if $(DISPLAY)$(WAYLAND_DISPLAY),--sink window)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-stream check format clean clean-all

help: ## Say what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1|\2/' | column -t -s '|' 2>/dev/null \
		|| grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST)

demo: $(VENV)/.stream ## Install, cut a person out of a moving picture for ten seconds, write demo.mp4
	$(VENV)/bin/python run_stream.py run demo --seconds 10 --effect blur --sink file:demo.mp4 $(WINDOW)
	@echo "Done. Look at $(CURDIR)/demo.mp4"

test: $(VENV)/.dev check ## Install what tests need (torch too), then the linters and every test
	$(VENV)/bin/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

test-stream: $(STREAM_VENV)/.test ## The tests of a streaming install, in an environment without torch
	@! $(STREAM_VENV)/bin/python -c 'import torch' 2>/dev/null \
		|| { echo "$(STREAM_VENV) has torch in it; remove the folder and run make test-stream again" >&2; exit 1; }
	$(STREAM_VENV)/bin/python -m pytest -m "not torch" $(PARALLEL) $(PYTEST_ARGS)

check: $(VENV)/.dev ## The linters: ruff, mypy --strict, import-linter
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.dev ## Sort imports, mend what ruff can mend, and lay the code out
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

clean: ## Remove caches, builds and demo.mp4
	rm -rf build dist demo.mp4 .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find configs engines pipeline tests -name __pycache__ -type d -prune -exec rm -rf {} +

clean-all: clean ## The same, and the environments
	rm -rf $(VENV) $(STREAM_VENV) segstream.egg-info

# --- environments ---------------------------------------------------------------------------------------------------

%/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "segstream needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>/dev/null || echo missing)." \
			"Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make an environment; this mends it: sudo apt-get install -y python3-venv" >&2; exit 1; }
	@$*/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $*
	@touch $@

%/.stream: %/.made $(REQUIREMENTS)
	@echo "Installing the streaming packages into $* (about 0.5 GB, once)"
	@$*/bin/python $(PIP_INSTALL) --editable .
	@$(call check_opencv,$*)
	@touch $@

%/.test: %/.stream
	@echo "Installing what the tests need into $*"
	@$*/bin/python $(PIP_INSTALL) --editable '.[test]'
	@$(call install_crf,$*)
	@touch $@

%/.dev: %/.stream
	@echo "Installing what the tests need into $*, torch included"
	@$*/bin/python $(PIP_INSTALL) --editable '.[dev]'
	@$(call install_crf,$*)
	@touch $@

.PRECIOUS: %/.made %/.stream %/.test %/.dev

# OpenCV's wheel takes libGL and glib from the system; its own message does not say where to get them.
define check_opencv
$(1)/bin/python -c 'import cv2' 2>$(1)/opencv-error.txt || { \
	tail -n 1 $(1)/opencv-error.txt >&2; \
	echo "OpenCV cannot be loaded. This mends it: sudo apt-get install -y libgl1 libglib2.0-0" >&2; exit 1; }
endef

# The reference CRF is compiled where it is installed; without a compiler its tests skip, and say so.
define install_crf
if command -v c++ >/dev/null && $(1)/bin/python -c 'import pathlib, sysconfig; pathlib.Path(sysconfig.get_path("include"), "Python.h").stat()' 2>/dev/null; \
	then $(1)/bin/python $(PIP_INSTALL) --editable '.[crf]'; \
	else echo "No C++ compiler or no Python headers: the reference CRF is left out, and its tests skip" \
		"(sudo apt-get install -y g++ python3-dev)"; fi
endef

.PHONY: picture
picture: $(VENV)/.stream ## Make the moving picture at the head of the README
	$(VENV)/bin/python docs/picture.py
