# Every target makes its own virtual environment first; nothing outside .venv is touched.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV   ?= .venv
EXTRAS ?= atari,box2d,fast,games,mujoco,plot,render,tensorboard,video,dev
PIP_ARGS ?=
PYTEST_ARGS ?=
WORKERS ?= 2
BENCH ?= core
DEFAULT := not slow and not gpu and not ray and not learning and not bench

BIN   := $(VENV)/bin
STAMP := $(VENV)/.rlcore-setup

export OMP_NUM_THREADS ?= 1
export SDL_VIDEODRIVER ?= dummy
export SDL_AUDIODRIVER ?= dummy

.PHONY: help setup demo test test-all lint format type bench docs clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## make .venv and install rlcore with the extras used here

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e ".[$(EXTRAS)]"
	@touch $@

demo: setup ## train CartPole-v1 asynchronously; print the video, the curve and the report
	$(BIN)/rlcore run experiments/configs/demo.yaml
	$(BIN)/rlcore play runs/latest --video
	$(BIN)/rlcore plot runs/latest
	$(BIN)/rlcore report runs/latest

test: setup ## the default tests (a quarter of an hour on 2 cores)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile -m "$(DEFAULT) and not alone" $(PYTEST_ARGS)
	$(BIN)/python -m pytest -m "$(DEFAULT) and alone" $(PYTEST_ARGS) || test $$? -eq 5  # none chosen

test-all: setup ## every test that this machine can run
	$(BIN)/python -m pytest -m "not gpu" $(PYTEST_ARGS)

lint: setup ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup ## apply ruff's fixes and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: setup ## mypy, strict for rlcore
	$(BIN)/mypy

bench: setup ## rlcore bench BENCH, ours and peers interleaved (BENCH=core)
	@mkdir -p runs
	$(BIN)/rlcore bench $(BENCH) --json runs/bench-$(BENCH).json

docs: setup ## generate the reference pages and build the site into site/, strictly
	$(BIN)/python -m pip install --quiet $(PIP_ARGS) -c constraints.txt -e ".[docs]"
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

clean: ## remove caches and build products; keeps .venv and runs
	rm -rf build dist site .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find rlcore agents envs experiments tests -type d -name __pycache__ -exec rm -rf {} +
