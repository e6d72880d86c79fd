# make run        install into .venv and run the main job: digits, trained, scored and sampled
# make test       install what the tests need and run them (PYTEST_ARGS="-m slow" for the slow ones)
# make lint       style, format and types
# make mutants    put NUM random mistakes of a SEED into a copy, one at a time, and list those that no test notices (hours; it can be
#                 stopped, and goes on where it was)
# make benchmark  speed of every network beside its peers in torch (BENCHMARK_ARGS=--quick: under three minutes)
# make tables     rewrite the tables of the pages from experiments/*/results.csv
# make docs       build the site of the pages, with an API reference, a gallery and the notebooks of the lecture, in build/site;
#                 a notebook is run (minutes on two CPU cores) when it has changed, and all are after `make clean`;
#                 the two pages that play are trained once (minutes), the one of Shakespeare on data that is downloaded
# make clean      remove .venv and caches; runs stay
#
# Another interpreter: make test PYTHON=python3.13 VENV=.venv313

PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
PYTEST_ARGS ?=
TEST_EXTRAS ?= plots,dev
SEED ?= 1
NUM ?= 300

BIN := $(VENV)/bin
PLAYS := build/play/digits.html build/play/shakespeare.html
NOTEBOOKS := $(patsubst docs/lecture/%.py,build/lecture/%.ipynb,$(wildcard docs/lecture/[0-9]*.py))
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable

# Compiled programs are kept between runs: a second `make test` or `make run` compiles next to nothing.
export JAX_COMPILATION_CACHE_DIR ?= $(CURDIR)/.cache/jax
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS ?= 0

.PHONY: run test lint mutants benchmark tables docs clean

run: $(VENV)/.plots
	$(BIN)/arjax --config=configs/digits.py --workdir=runs/digits

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup --max-worker-restart 0 $(PYTEST_ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

mutants: $(VENV)/.dev
	$(BIN)/python scripts/mutants.py --seed=$(SEED) --num=$(NUM)

benchmark: $(VENV)/.benchmark
	$(BIN)/python scripts/benchmark.py --out=runs/benchmark.json $(BENCHMARK_ARGS)

tables: $(VENV)/.plots
	$(BIN)/python scripts/update_tables.py

docs: $(VENV)/.docs
	$(MAKE) --jobs=$(WORKERS) $(NOTEBOOKS) $(PLAYS)
	$(BIN)/python scripts/collect_pages.py build/pages --notebooks=build/lecture --plays=build/play
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

build/lecture/%.ipynb: docs/lecture/%.py | $(VENV)/.docs
	$(BIN)/python scripts/run_notebook.py $< $@

# Two networks small enough for a page of less than 2 MB, with their weights in float32.
build/play/digits.html: | $(VENV)/.docs
	$(BIN)/arjax --config=configs/digits.py:network=deep_nade --workdir=build/runs/digits --config.train.steps=3000 \
	  "--config.network.hidden_sizes=(128, 128)"
	mkdir -p $(@D)
	$(BIN)/arjax --mode=page --workdir=build/runs/digits --output=$@

build/play/shakespeare.html: | $(VENV)/.docs
	$(BIN)/python scripts/prepare_data.py tiny_shakespeare
	$(BIN)/arjax --config=configs/tiny_shakespeare.py:network=gru --workdir=build/runs/shakespeare \
	  --config.network.hidden_size=224
	mkdir -p $(@D)
	$(BIN)/arjax --mode=page --workdir=build/runs/shakespeare --output=$@

clean:
	rm -rf $(VENV) .cache build *.egg-info .pytest_cache .ruff_cache

# One stamp per set of extras: it is older than the project file exactly when the set must be installed again.
$(VENV)/.plots: EXTRAS = plots,coding
$(VENV)/.dev: EXTRAS = $(TEST_EXTRAS)
$(VENV)/.benchmark: EXTRAS = plots,benchmark
$(VENV)/.docs: EXTRAS = plots,docs
$(VENV)/.plots $(VENV)/.dev: PACKAGES = about 75 packages, 300 MB to download and 1.2 GB on disk
$(VENV)/.docs: PACKAGES = about 150 packages
$(VENV)/.benchmark: PACKAGES = about 100 packages, with torch several GB
$(VENV)/.plots $(VENV)/.dev $(VENV)/.benchmark $(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing arjax with its extras $(EXTRAS) into $(VENV): $(PACKAGES)"
	$(INSTALL) '.[$(EXTRAS)]'
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "arjax needs Python 3.11 or newer, and $(PYTHON) is not: name one with make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$(PYTHON) cannot make virtual environments: install its venv package (on Debian: apt-get install python3-venv)"; exit 1; }
	@echo "making a virtual environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)
