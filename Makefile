# Every goal sets up what it needs in .venv, once, and again when setup.cfg changes.
#
#   PYTHON=python3.12   the interpreter to build .venv from (3.11 or newer)
#   ARGS="..."          passed on to the program or to pytest: make train ARGS="--preset full"
#   DEVICE=cuda         train on the GPU, with the CuPy that fits it, or the one of EXTRA=cuda12, cuda13 or rocm

SHELL  := bash
PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
RUN    := $(VENV)/bin/python

ifneq ($(wildcard ../shared/data/.),)
export TINYGRAD_EDU_DATA ?= $(abspath ../shared/data)
endif

.DEFAULT_GOAL := help
# Two goals at once would install into .venv at once.
.NOTPARALLEL:
.PHONY: help train cupy test slow browser device mutants pages lint types bench dev clean

help: ## list the goals
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

train: $(if $(filter cuda%,$(DEVICE)),cupy) $(VENV)/.examples ## train a GPT on Shakespeare (ARGS="--help" lists the options; DEVICE=cuda)
	$(RUN) examples/train_shakespeare.py $(if $(DEVICE),--device $(DEVICE)) $(ARGS)

cupy: $(VENV)/.python
	@extra=$$($(RUN) -P tinygrad_edu/backend/machine.py $(EXTRA)) && $(MAKE) --no-print-directory $(VENV)/.$$extra

test: $(VENV)/.test ## run the default tests on every core, with coverage
	$(RUN) -m pytest -n auto --dist worksteal --cov -m "not slow and not browser" $(ARGS)

slow: $(VENV)/.dev ## run the slow tests
	$(RUN) -m pytest -n auto --dist worksteal -m "slow and not browser" $(ARGS)

browser: $(VENV)/.browser ## open the inspector's page in Chromium and read it (needs: apt-get install -y chromium)
	@command -v chromium chromium-browser google-chrome > /dev/null \
	  || { echo "Chromium is missing; install it: sudo apt-get install -y chromium" >&2; exit 1; }
	$(RUN) -m pytest -m browser $(ARGS)

device: ## run the tests of the GPU: on one that is found, else on the CPU by ../shared/cupy-on-cpu, in .venv-device
	PYTHON=$(PYTHON) .ci/device $(ARGS)

mutants: $(VENV)/.test ## break every gradient in every small way: some test must notice each
	$(RUN) -m tinygrad_edu.testing.mutants --report docs/mutants.md $(ARGS)

pages: $(VENV)/.test ## write anew what is generated: the compatibility page and the golden values
	$(RUN) -m tinygrad_edu.testing.surface
	$(RUN) -m tinygrad_edu.testing --write-golden

lint: $(VENV)/.dev ## check the style with ruff
	$(RUN) -m ruff check .

types: $(VENV)/.dev ## check the types with mypy
	$(RUN) -m mypy

bench: $(VENV)/.test ## measure speed beside PyTorch's and write benchmarks/RESULTS.md (ARGS=--quick: only try it)
	$(RUN) benchmarks $(ARGS)

dev: $(VENV)/.dev ## install all that developing needs into .venv

clean: ## remove .venv, caches and builds; runs/ stays
	rm -rf $(VENV) .venv-device build dist *.egg-info .coverage .coverage.* htmlcov .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# $(VENV)/.NAME stands for "the extra NAME is installed". The whole of pip's output is in $(VENV)/pip-NAME.log.
$(addprefix $(VENV)/.,examples test browser dev cuda12 cuda13 rocm): $(VENV)/.%: setup.cfg pyproject.toml $(VENV)/.python
	@echo "Installing tinygrad_edu[$*] into $(VENV) (once; a few minutes on a slow line)"
	@set -o pipefail; \
	$(RUN) -m pip install --disable-pip-version-check -e '.[$*]' 2>&1 | tee $(VENV)/pip-$*.log \
	  | awk '/Downloading .*(MB|GB)\)/ || /^ERROR/ {print "  " $$0} /^Installing collected/ {print "  Unpacking packages: " NF - 3} {fflush()}' \
	  || { tail -n 20 $(VENV)/pip-$*.log; echo "The installation failed; the whole log is in $(VENV)/pip-$*.log" >&2; exit 1; }
	@touch $@

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit( \
	  "Python 3.11 or newer is needed, but $(PYTHON) is Python " + sys.version.split()[0])' || { \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@
