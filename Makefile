# Two commands: `make demo` runs the main job, `make test` passes the tests. Both set everything up by themselves.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint format api bench clean

demo: $(READY)
	$(BIN)/migrator upgrade head
	$(BIN)/migrator status

test: $(READY)
	$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

api: $(READY)
	$(BIN)/python docs/_api.py

bench: $(READY)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/thousand.py
	$(BIN)/python benchmarks/observed.py
	$(BIN)/python -m benchmarks.takeover

clean:
	rm -rf $(VENV) .migrator build dist

# uv makes the environment in seconds; without it pip does the same, more slowly.
$(READY): pyproject.toml
	if command -v uv >/dev/null; then \
	    uv venv --quiet --allow-existing $(VENV) && uv pip install --quiet --python $(BIN)/python -e '.[test]'; \
	else \
	    $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet -e '.[test]'; \
	fi
	touch $(READY)
