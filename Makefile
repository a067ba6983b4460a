# make demo   set up, plan a real model to 256KB, check the plan, train a step with it
# make test   set up for development; lint, types, tests
# make mcu    train three int8 networks in 118 to 140 KB of RAM, and ResNet-8 in 256 KB, on emulated
#             Cortex-M boards; needs Debian packages, see README
# make learn  adapt a small network to new digits in int8, in generated C
#
# PYTHON   interpreter that makes the virtual environment
# VENV     where it goes
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := build/demo
# What the solver compiles once, so that no first search does.
COMPILE := 'from memplan.solver import prepare; prepare()'

.PHONY: demo test check mcu learn examples schemas lock clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.installed
	@mkdir -p $(DEMO)
	@echo '== plan one training step of ResNet-8 to 256KB'
	$(BIN)/plan examples.mlperf_tiny:resnet8 --budget 256KB --time-limit 8 --deterministic \
	    -o $(DEMO)/plan.json --graph-out $(DEMO)/graph.json \
	    --weights-out $(DEMO)/weights.safetensors
	@echo '== check the plan, with code that the solver does not share'
	$(BIN)/plan verify $(DEMO)/graph.json $(DEMO)/plan.json
	@echo '== train a step with it in one arena of that size, and compare with autograd'
	$(BIN)/plan run $(DEMO)/graph.json $(DEMO)/plan.json \
	    --weights $(DEMO)/weights.safetensors --against autograd

test: $(VENV)/.installed-dev
	@$(MAKE) --no-print-directory check

# The same without setting anything up.
check:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p memplan -p tests -p examples -p benchmarks
	$(BIN)/pytest -n 2 --dist worksteal

mcu: $(VENV)/.installed
	$(BIN)/python -m benchmarks.mcu

# scikit-learn, whose digits it takes, comes with the development tools.
learn: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.learning

examples: $(VENV)/.installed
	$(BIN)/python -m examples.run_all

schemas: $(VENV)/.installed
	$(BIN)/python -m memplan.ir.schema docs/schema

lock: $(VENV)/.installed-dev
	{ echo '# Exact versions that this release was tested with; made by make lock.'; \
	  $(BIN)/pip freeze --all --exclude-editable --exclude pip --exclude memplan | sed 's/+[a-z0-9.]*$$//'; \
	} > constraints.txt.new && mv constraints.txt.new constraints.txt

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]'
	$(BIN)/python -c $(COMPILE)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -c $(COMPILE)
	@touch $@ $(VENV)/.installed

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
