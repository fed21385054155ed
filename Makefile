# Everything that the README mentions. Each target sets up what it needs, once, in .venv: Python 3.11 to 3.13 is all.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CHAPTER ?=
LAB ?=
NOTEBOOKS = $(sort $(wildcard notebooks/$(CHAPTER)*.ipynb))
DATA ?= digits
MNIST ?=
ROW ?=
TORCH ?= torch
# Two processes, each with whole files and half of the cores. Their order is that of conftest.py.
TWO = -n 2 --dist loadfile --no-loadscope-reorder
PYTEST = $(BIN)/python -m pytest tests $(TWO)
# No backend matters there.
BACKENDLESS = $(patsubst %,--ignore=tests/test_%.py,lab site launch notebooks house compression corruption data explorer \
                metrics rangecoder restoration tomography)

.PHONY: lab test unit test-jax test-notebooks test-notebooks-jax test-torch test-colab test-binder \
        notebooks lint bench gallery results links site clean
.DEFAULT_GOAL := test

lab: $(READY)  ## open the course in JupyterLab (LAB="--no-browser --port=8890" for options of your own)
	$(BIN)/jupyter trust notebooks/*.ipynb  # so that the interactive map answers before its cell is run
	$(BIN)/jupyter lab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root) $(LAB)  # root: containers

test: lint unit test-notebooks  ## every test

unit: $(READY)  ## every test but the notebooks' execution
	$(PYTEST)

test-jax: $(READY)  ## the unit tests on Keras's JAX backend; what is compiled runs too briefly to be worth optimising
	KERAS_BACKEND=jax XLA_FLAGS=--xla_backend_optimization_level=0 $(PYTEST) $(BACKENDLESS)

test-notebooks: $(READY)  ## execute each notebook and compare with its stored outputs (CHAPTER=04 for one)
	$(BIN)/python -m pytest --nbval --nbval-current-env --nbval-cell-timeout=600 $(if $(CHAPTER),,$(TWO)) $(NOTEBOOKS)

test-notebooks-jax: $(READY)  ## execute each notebook on Keras's JAX backend: other numbers, in the same ranges
	@# chapter 5 trains on photographs for ten minutes here: XLA is slow with transposed convolutions on a CPU
	KERAS_BACKEND=jax $(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=1800 $(NOTEBOOKS)

test-torch: $(READY)  ## the unit tests on Keras's PyTorch backend (TORCH=torch==2.13.0 chooses a version)
	$(BIN)/python -m pip install -q $(TORCH)
	KERAS_BACKEND=torch $(PYTEST) $(BACKENDLESS)

notebooks: $(READY)  ## execute each notebook and store its outputs (CHAPTER=04 for one)
	$(BIN)/python tests/notebook_store.py $(NOTEBOOKS)

test-colab: $(READY)  ## a chapter alone in an environment like Colab's (COLAB_PYTHON=python3.12; CHAPTER=03_math)
	$(BIN)/python -m pytest -m weekly tests/test_colab.py

test-binder: $(READY)  ## what Binder makes of environment.yml and postBuild
	$(BIN)/python -m pytest -s -m weekly tests/test_binder.py

lint: $(READY)
	$(BIN)/ruff check .

bench: $(READY)  ## time to quality and throughput (DATA=path/to/mnist.npz for full size)
	$(BIN)/python benchmarks/time_to_quality.py --data $(DATA)

gallery: $(READY)  ## every generator for a minute, three seeds, before one judge: benchmarks/results/gallery
	$(BIN)/python benchmarks/gallery.py --data $(DATA) --seeds 3

results: $(READY)  ## the README's table: all rows, three seeds (MNIST=path/to/mnist.npz for full size; ROW=code for one)
	$(BIN)/python benchmarks/results.py --mnist '$(MNIST)' $(if $(ROW),--rows $(ROW))

site: $(READY)  ## all chapters as a static website, from the stored outputs: build/site
	rm -rf build/site build/site-source && mkdir -p build/site-source
	cp -R LICENSE notebooks build/site-source && mkdir build/site-source/.github && cp .github/*.png build/site-source/.github
	cat README.md .github/site/contents.md > build/site-source/index.md
	$(BIN)/python -m sphinx -q -W -b html -c .github/site build/site-source build/site

links: $(READY)  ## write the address of a fork into every badge, link and set-up cell
	$(BIN)/python tests/launch_links.py '$(REPOSITORY)'

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; (3, 11) <= v[:2] <= (3, 13) or sys.exit("Python 3.11, 3.12 or 3.13 is needed. Received: Python %d.%d (choose another: make PYTHON=python3.12)" % v[:2])'
	@echo "Setting up $(VENV): a download of about 1 GB, some minutes the first time."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[lab,test,site]' -c constraints.txt
	@touch $(READY)

clean:  ## remove the environment and everything that was built
	rm -rf $(VENV) build *.egg-info .pytest_cache .hypothesis .ruff_cache benchmarks/results
