# make demo   makes the environment and converts the bundled example
# make test   makes the environment and runs the tests
# make check  runs the linters and the type checker
# make docs   makes the environment and builds the documentation site, site/index.html
# make clean  removes the environment and the example's results
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check docs clean

demo: $(VENV)/installed
	$(BIN)/snakemake --cores all

test: $(VENV)/installed-dev
	@# One more than there are cores: a run of Snakemake waits for a quarter of its time.
	$(BIN)/python -m pytest -n $$($(BIN)/python -c 'import os; print(os.cpu_count() + 1)')

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy scripts
	PYTHONPATH=scripts $(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile workflow rules
	$(BIN)/snakemake --lint

docs: $(VENV)/installed-docs
	@# Strictly: a link that leads nowhere, or a page that is nowhere linked, is an error.
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

$(VENV)/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "aerozarr needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/installed-docs: requirements-docs.txt $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.txt
	touch $@

$(VENV)/installed-dev: requirements-dev.txt requirements-docs.txt tests/system-packages.txt $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	tests/system.sh
	touch $@

clean:
	rm -rf $(VENV) results site .snakemake
