# make demo     a believable company on SQLite, and a server with GraphiQL
# make test     the whole suite, on SQLite and on a real PostgreSQL
# make check    lint, format, types, licenses
# make bench    reads and mutations against what PostgreSQL can do, and against the usual way
# make bench-growth  the same reads on ten and a hundred times the rows
# make bench-memory  whether a server's memory stays bounded under 100,000 different documents
# make bench-bulk  import and export against what the databases can do
# make mutants  the code of access without one predicate at a time: which of them no test misses
# make install  only .venv

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := .demo
PORT ?= 8000

.PHONY: install demo bench bench-growth bench-memory bench-bulk mutants test test-sqlite test-postgresql check format graphiql clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Amity needs Python 3.11 or later; name one: make PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all,test]'
	touch $@

# GraphiQL's own files, served by us, so that it works offline; without node it comes from its CDN
graphiql: install
	@$(BIN)/python -m amity_graphql.assets

demo: install graphiql
	@mkdir -p $(DEMO)
	@$(BIN)/python examples/demo/company.py --config examples/demo/amity.toml
	@$(BIN)/amity --config examples/demo/amity.toml serve --port $(PORT)

bench: install
	$(BIN)/python -m benchmarks.reads

bench-growth: install
	$(BIN)/python -m benchmarks.growth

bench-memory: install
	$(BIN)/python -m benchmarks.memory

bench-bulk: install
	$(BIN)/python -m benchmarks.bulk

mutants: install
	$(BIN)/python -m tests.mutants

# as many processes as there are processors; WORKERS=0 is one, without the package that divides the work
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test: test-sqlite test-postgresql

test-sqlite: install
	AMITY_TEST_DATABASE=sqlite $(PYTEST)

test-postgresql: install
	AMITY_TEST_DATABASE=postgresql $(PYTEST)

# IMAPClient is under the New BSD License; its metadata do not say so
check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pip-licenses --partial-match --ignore-packages amity IMAPClient --allow-only \
		"MIT;BSD;Apache;ISC;PSF;Python Software Foundation;MPL;Mozilla;Unlicense;CC0;PostgreSQL;0BSD" > /dev/null

format: install
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

clean:
	rm -rf $(VENV) $(DEMO) .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis
