# The two commands: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := build/demo
SOURCES := $(shell find maskline components pipelines -name '*.py' -o -name '*.j2' -o -name '*.yaml')

IMAGES ?= light server trainer
REGISTRY ?= $(or $(MASKLINE_REGISTRY),ghcr.io/maskline)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

.PHONY: demo test check bench golden images clean

demo: $(DEMO)/done
	@cat $(DEMO)/done

test: $(VENV)/ready
	OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest

check: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/ready
	$(BIN)/python -m tests.benchmarks $(if $(ONLY),--only $(ONLY))

golden: $(VENV)/ready
	$(BIN)/pytest tests/golden --write-golden

# The container images, tagged with the version; BUILD_ARGS go to `docker build`, such as '--build-arg WEIGHTS=…'.
images:
	for name in $(IMAGES); do docker build --file images/$$name/Dockerfile \
	    --tag $(REGISTRY)/maskline-$$name:$(VERSION) \
	    --build-arg REVISION=$$(git rev-parse --short HEAD 2>/dev/null) $(BUILD_ARGS) . || exit 1; done

clean:
	rm -rf build $(VENV)

$(VENV)/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[train,dev]'
	touch $@

# A finished demo is kept until the code changes.
$(DEMO)/done: $(VENV)/ready $(SOURCES)
	rm -rf $(DEMO)
	$(BIN)/maskline sample-data $(DEMO)/data
	$(BIN)/maskline run $(DEMO)/data/job.yaml --run-dir $(DEMO)/run
	printf 'report:    %s\nONNX file: %s\n' $(DEMO)/run/report.html $(DEMO)/run/model.onnx > $@
