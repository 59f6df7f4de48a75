# `make demo` and `make test` do all the set-up they need.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || echo python3)
BIN := .venv/bin
DEMO := runs/demo
BENCHMARKS := randaugment train_throughput precision_probe latency_repeatability latency_beside_torchvision trial_overhead \
	time_to_f1 worker_scaling judge board_page engines distributed_training

help:            ## show this
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

setup: $(BIN)/.ready   ## virtual environment with the tested versions; a second call is instant

$(BIN)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else f"error: Python {v[0]}.{v[1]}; allowed: 3.11 to 3.13\n  do: make PYTHON=/path/to/python3.11")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "installing Python's venv module"; apt-get update -qq && apt-get install -y -qq python3-venv; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --progress-bar off --no-compile --constraint constraints.txt --editable '.[dev]'
	@# pip would compile on one processor; what isn't Python (packages have templates) is left out, as by pip
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib || echo "not compiled: what packages hold that is no Python"
	@touch $@

demo: setup      ## the main job on the embedded digits: study, final training, submission, verdict, standings
	@rm -rf $(DEMO) submissions/demo
	$(BIN)/python tune.py study.name=demo study.trials=10 workers=2 runs=$(DEMO) storage.url=sqlite:///$(DEMO)/demo.db
	$(BIN)/python -m harness report study=demo runs=$(DEMO) storage.url=sqlite:///$(DEMO)/demo.db
	$(BIN)/python train.py study=demo trial=best run=demo runs=$(DEMO) storage.url=sqlite:///$(DEMO)/demo.db
	$(BIN)/python inference.py run=$(DEMO)/final/demo name=demo
	@# one's own model needs no sandbox, and bubblewrap may be missing here
	$(BIN)/python -m harness score submissions/demo sandbox=unsafe board.url=sqlite:///$(DEMO)/board.db runs=$(DEMO)
	$(BIN)/python -m harness standings board.url=sqlite:///$(DEMO)/board.db
	@echo "Look at: $(DEMO)/demo/*.png (the study), $(DEMO)/demo/00000 (a trial), $(DEMO)/final/demo (the training),"
	@echo "         submissions/demo (the entry), README.md (your own data next)"
	@echo "next:  . $(BIN)/activate"
	@echo "       harness tune study.name=demo study.trials=20 workers=2 runs=$(DEMO) storage.url=sqlite:///$(DEMO)/demo.db"
	@echo "       harness front study=demo runs=$(DEMO) storage.url=sqlite:///$(DEMO)/demo.db"
	@echo "       harness train study=demo trial=best_f1 runs=$(DEMO) storage.url=sqlite:///$(DEMO)/demo.db"
	@echo "       harness measure submissions/demo/model.onnx submissions/example/model.onnx"

# what pytest makes of a test file is kept: else each of its workers makes it anew, which is six seconds
test: export PYTHONDONTWRITEBYTECODE =
test: setup      ## all tests that need no network and no accelerator
	@# most wait for leases and processes, so files run side by side; the few that time something have the machine alone,
	@# and come first: what they compile is there when several would each compile it
	@failed=0; \
	$(BIN)/python -m pytest -m "alone and not chaos" || failed=$$?; \
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder -m "not chaos and not alone" || failed=$$?; \
	exit $$failed

chaos: setup     ## workers and judges killed by the hundred on each database, attacks on the sandbox, cheats (long)
	$(BIN)/python -m pytest -s -rs -m chaos
	$(BIN)/python -m pytest -s -rs tests/chaos/long.py
	$(BIN)/python -m pytest -s -rs tests/chaos_board/long_queue.py
	$(BIN)/python -m pytest -s -rs tests/chaos_board/long_last_place.py tests/chaos_board/long_ladder_attack.py
	$(BIN)/python tests/sandbox/matrix.py
	$(BIN)/python -m pytest -s -rs tests/end_to_end/long_first_days.py
	$(BIN)/python -m pytest -s -rs tests/submission/test_model_gate.py tests/judge/long_cheats.py

lint: setup      ## style and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

bench: setup     ## every claim of speed, each beside its peer
	for name in $(BENCHMARKS); do echo "== $$name"; $(BIN)/python benchmarks/$$name.py || exit 1; done

.PHONY: help setup demo test chaos lint bench
