# make demo [BAG=path] [RATE=0.5]   replay a bag through the node and look at the result (demo_output/)
# make test                         all tests
# make lint                         ruff
# make clean                        remove what these commands made
#
# Each sets up .venv by itself (PyTorch, ROS 2 as pip wheels, our messages built with colcon) and is ready within seconds from the second run on.
# Where a ROS 2 is sourced, that one is used. `source .venv/setup.bash` gives the same environment in a shell.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

export PYTHON ?= python3
MESSAGES := CMakeLists.txt package.xml cmdfusion_ros/__init__.py $(wildcard msg/* srv/* cmake/* .ci/interfaces/*/*.* .ci/interfaces/*/msg/*)

.PHONY: help demo test lint clean
help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: .venv/interfaces_built
	@source .venv/setup.bash
	python -m cmdfusion_ros demo $${BAG:+"$$BAG"} $${RATE:+--rate "$$RATE"}

test: .venv/interfaces_built
	@source .venv/setup.bash
	python -m pytest

lint: .venv/python_installed
	@.venv/bin/ruff check .

clean:
	rm -rf .venv demo_output cmdfusion_ros.egg-info .pytest_cache .hypothesis .ruff_cache

.venv/python_installed: setup.py .ci/setup
	@.ci/setup python

# Without a compiler nothing is built and the file is not written, so that the next run looks again.
.venv/interfaces_built: .venv/python_installed $(MESSAGES)
	@.ci/setup interfaces
