# make install | demo | check | test | test-all | format
# PYTHON: any Python 3.11 or newer; the first one found unless given.

PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: install demo check test test-all test-extras docs format lock clean

install: .venv/.installed

.venv/.installed: pyproject.toml requirements.lock
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer was found; give one with PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev,minatar,video]'
	touch $@

# Hadamax-PQN on Breakout: train or resume, evaluate with baselines, draw the learning curve, record a video.
demo: install
	@if [ -f runs/demo/config.toml ]; then $(BIN)/hadamax resume runs/demo; \
	else $(BIN)/hadamax train pqn --config examples/demo.toml --out runs/demo; fi
	$(BIN)/hadamax evaluate runs/demo --baselines --episodes 30 --max-episode-frames 12_000 --video runs/demo/video.mp4

# One worker per core, one thread per worker: small tensors are slower on two threads.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

# Before each commit: format, lint, types and the fast tests, in under two minutes.
check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(PYTEST) -m "not slow and not end_to_end"

# Before each push: every test except the slow ones, in under five minutes.
test: install
	$(PYTEST) -m "not slow"

# Before a release: every test, with more random examples, and each extra in an environment without the others.
test-all: install
	HYPOTHESIS_PROFILE=full $(PYTEST)
	$(MAKE) $(EXTRAS:%=test-extra-%)

# The tests of all extras except the slow ones, in one environment.
test-extras: .venvs/all/.installed
	OMP_NUM_THREADS=1 .venvs/all/bin/python -m pytest -n auto --dist loadfile --extra=all -m "not slow"

EXTRAS := sb3 flax torchrl ray wandb docs
test-extra-%: .venvs/%/.installed
	OMP_NUM_THREADS=1 .venvs/$*/bin/python -m pytest -n auto --dist loadfile --extra=$*

.PRECIOUS: .venvs/%/.installed
comma := ,
empty :=
# An environment for one extra, or for `all` of them, on top of .venv: it shares the packages that are installed there.
.venvs/%/.installed: .venv/.installed
	rm -rf .venvs/$* && $(BIN)/python -m venv .venvs/$*
	below=$$($(BIN)/python -c "import site; print(site.getsitepackages()[0])"); \
	here=$$(.venvs/$*/bin/python -c "import site; print(site.getsitepackages()[0])"); \
	echo "import site; site.addsitedir('$$below')" > "$$here/below.pth"
	.venvs/$*/bin/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock \
		--editable '.[$(if $(filter all,$*),$(subst $(empty) $(empty),$(comma),$(EXTRAS)),$*)]'
	touch $@

# The documentation as a site, in site/: nothing of it is fetched from elsewhere.
docs: .venvs/all/.installed
	NO_MKDOCS_2_WARNING=1 .venvs/all/bin/python -m mkdocs build --strict
	@echo "open site/index.html"

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Pin today's versions of everything, for the environments made here; a user's own ranges are in pyproject.toml.
lock:
	rm -rf .venv && $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade --editable '.[dev,minatar,video,sb3,flax,torchrl,ray,wandb,docs]' 'torch==2.13.0'
	$(BIN)/pip freeze --exclude-editable | sed 's/+cpu$$//; s/+cu[0-9]*$$//' > requirements.lock

clean:
	rm -rf .venv .venvs site build dist .pytest_cache .ruff_cache .mypy_cache
