# Every target sets up what it needs in .venv on first use.
# Up to 3.12 first: there MediaPipe installs, which the face nets are tested against.
PYTHON ?= $(shell for p in python3.12 python3.11 python3.10 python3.13 python3.14 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && echo $$p && break; done)
TORCH ?= torch==2.13.0
PIP := .venv/bin/python -m pip --disable-pip-version-check
RUN_STAMP := .venv/.run
DEV_STAMP := .venv/.dev

.PHONY: archive growth faults soak fuzz bench-peers view axe screenshots demo test test-full test-random mutation resolve lint format graph picture bench gpu clean help
.DEFAULT_GOAL := help

help:
	@echo "make demo       play the built-in clip: faces and scores in the terminal, published over ZeroMQ"
	@echo "make view       a live page of it for the browser"
	@echo "make test       the test suite          make test-full  full-size models too (minutes)"
	@echo "make lint       what CI checks          make format     apply the formatter"
	@echo "make bench      the benchmarks          make gpu        tests and table on an NVIDIA GPU"
	@echo "make bench-peers  ours beside other packages, each in an environment of its own"
	@echo "make graph      draws who imports whom  make picture    the README's picture"
	@echo "make mutation   changes that no test notices    make ros2   a ROS 2 for the tests of its bridge"
	@echo "make resolve    every extra for every Python, on x86-64 and Jetson"
	@echo "make faults     every fault into every program: half an hour; root or user namespaces"
	@echo "make growth     100,000 frames through the pipeline: no byte more at the end"
	@echo "make soak       an hour of four cameras with a fault every ten seconds"
	@echo "make fuzz       damaged input for every reader, guided by coverage"
	@echo "make archive    2,000 clips on two Ray nodes, killed at random (hours)"
	@echo "make test-random  three random orders, then two processes"

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.10 or newer with venv is needed (Debian, Ubuntu: apt-get install python3 python3-venv)."; exit 1; }
	$(PYTHON) -m venv .venv

# Not compiled ahead: of 35 MB of byte code the program ever reads 5, which its first start writes.
$(RUN_STAMP): pyproject.toml stream/faces/nets/provide.py .ci/system-libraries.py | .venv/bin/python
	.venv/bin/python .ci/system-libraries.py
	$(PIP) install --quiet --no-compile --editable .
	@touch $@

# torch first and by itself: a range in `.[dev]` would otherwise pull the newest build with several GB of CUDA libraries.
$(DEV_STAMP): pyproject.toml stream/faces/nets/provide.py .ci/system-libraries.py | .venv/bin/python
	.venv/bin/python .ci/system-libraries.py
	$(PIP) install --quiet "$(TORCH)"
	$(PIP) install --quiet --editable '.[dev]'
	@touch $@ $(RUN_STAMP)

demo: $(RUN_STAMP)
	@echo "In a second terminal: .venv/bin/dfer-stream listen, or a page for the browser: make view"
	.venv/bin/dfer-stream run --source demo://

# In the order of the files, two processes side by side; `make test-random` shuffles.
test: $(DEV_STAMP)
	.venv/bin/python -m pytest -p no:randomly -n 2 --dist loadfile

test-full: $(DEV_STAMP)
	.venv/bin/python -m pytest -p no:randomly -m "not gpu and not camera" --timeout 1800

gpu: $(DEV_STAMP) .cache/vit-b-32/bundle.json
	.venv/bin/python -m pytest -p no:randomly -m gpu
	.venv/bin/dfer-engine bench stream/default_model --backend torch
	.venv/bin/dfer-engine bench .cache/vit-b-32 --backend torch
	.venv/bin/dfer-train bench --model tg-dfer --encoder vit-b-32 --set loop.precision=bf16
	.venv/bin/dfer-train bench --model clip-guided --encoder vit-b-32 --set loop.precision=bf16
	.venv/bin/dfer-train bench --model dk-clip --encoder vit-b-16 --set loop.precision=bf16

# Twice in one process, once in two: an order or a neighbour that a test leans on shows.
test-random: $(DEV_STAMP)
	.venv/bin/python -m pytest
	.venv/bin/python -m pytest
	.venv/bin/python -m pytest -n 2

# Asks the package index, needs no interpreter: minutes.
resolve: $(DEV_STAMP)
	.venv/bin/python -m pytest -p no:randomly -m "" tests/installation/test_resolution.py

# A thousand damaged videos beside FFmpeg's own program: minutes.
test-damage: $(DEV_STAMP)
	.venv/bin/python -m pytest -p no:randomly -m slow --timeout 1800 tests/stream/camera/video/test_damage.py

# In namespaces of its own: neither the machine's network nor its disks or clock are touched.
faults: $(DEV_STAMP)
	.venv/bin/python -m tests.faults.matrix --seeds $(or $(SEEDS),5)

growth: $(DEV_STAMP)
	.venv/bin/python -m tests.scenes.growth

soak: $(DEV_STAMP)
	.venv/bin/python -m tests.faults.soak --minutes $(or $(MINUTES),60) --out .cache/soak

fuzz: $(DEV_STAMP)
	$(PIP) install --quiet --editable '.[fuzz]'
	.venv/bin/python -m tests.fuzz --runs $(or $(RUNS),26000)

# Rows equal one process after whatever was killed; speed and memory by turns; then a cluster of 100 nodes, simulated.
archive: $(DEV_STAMP)
	.venv/bin/python -m tests.archive --clips 2000 --seeds 10
	.venv/bin/python -m tests.archive.simulate

mutation: $(DEV_STAMP)
	.venv/bin/python -m tests.mutation --sample 300 --seed 1

# A ROS 2 of wheels (320 MB), with which the tests of its bridge run instead of being skipped. Needs Python 3.11 and a C++ compiler.
ros2: .cache/ros2/built

.cache/ros2/built: tests/ros2/build.sh $(wildcard tests/ros2/hri_msgs/*.* tests/ros2/hri_msgs/msg/*) | $(DEV_STAMP)
	tests/ros2/build.sh .cache/ros2
	@touch $@

# Needs graphviz for the picture; without it the DOT file is left.
graph: $(DEV_STAMP)
	@mkdir -p .cache
	.venv/bin/python -m tests.import_graph .cache/imports.dot
	@if command -v dot >/dev/null; then dot -Tsvg .cache/imports.dot -o .cache/imports.svg && echo .cache/imports.svg; \
	else echo ".cache/imports.dot (install graphviz for a picture)"; fi

# The live page with a daemon of its own; PORT=8091 for another port.
view: $(RUN_STAMP)
	$(PIP) install --quiet --editable '.[view]'
	.venv/bin/dfer-stream view --demo --port $(or $(PORT),8090)

# axe-core judges the page's accessibility in the tests; it is fetched, not kept.
axe: node_modules/axe-core/axe.min.js
node_modules/axe-core/axe.min.js:
	npm install --silent --no-save --no-package-lock --prefix . axe-core@4.14.1

# The README's pictures of the live page: the demo clip in dark, light and phone width. Needs Chromium.
screenshots: $(DEV_STAMP)
	.venv/bin/python -m tests.stream.apps.view.screenshots tests/scenes

picture: $(DEV_STAMP)
	@mkdir -p .cache
	.venv/bin/dfer-stream run --source demo:// --every-frame --frames 360 --json > .cache/demo.jsonl
	.venv/bin/python -m tests.scenes.picture stream/demo/clip.mp4 .cache/demo.jsonl tests/scenes/demo.png --at 1.5 3.5 6.5 8.5

lint: $(DEV_STAMP)
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

format: $(DEV_STAMP)
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

# The full-size model has random weights: speed does not depend on them.
.cache/vit-b-32/bundle.json: | $(DEV_STAMP)
	@mkdir -p .cache
	.venv/bin/dfer-train random-bundle tg-dfer .cache/vit-b-32 --encoder vit-b-32

bench: $(DEV_STAMP) .cache/vit-b-32/bundle.json
	.venv/bin/dfer-stream bench
	.venv/bin/dfer-stream bench --bundle .cache/vit-b-32 --every-frame-encoded
	.venv/bin/dfer-engine bench .cache/vit-b-32

# Each peer in an environment of its own under .cache/peers: some 4 GB, and half an hour.
bench-peers: $(DEV_STAMP)
	.venv/bin/python -m tests.peers

clean:
	rm -f stream/faces/nets/tflite/*.tflite
	rm -rf .venv build dist node_modules .mypy_cache .ruff_cache .import_linter_cache .pytest_cache .hypothesis .cache
