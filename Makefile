# A fresh machine needs python3 >= 3.11 and make; everything else goes into .venv.
#   make demo    encode, decode and measure examples/sample.mp4, into ./demo/
#   make test    the test suite
#   make check   ruff, its formatter, and mypy --strict
#   make bench-rd bench-speed CLIPS="..."   rates, quality and speed, into ./bench/
#   make clean   remove what was built or cached; the environment stays (make distclean removes that too)

PYTHON ?= python3
# The CPU build of torch; on a machine with CUDA: make venv TORCH_INDEX=https://download.pytorch.org/whl/cu130
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := venv
.PHONY: venv demo test bench-rd bench-speed check format clean distclean

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "vcodec needs Python 3.11 or later; name one with: make PYTHON=python3.12" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --retries 1 --extra-index-url $(TORCH_INDEX) "$$(grep '^torch==' constraints.txt)"
	$(PIP) install -c constraints.txt -e '.[dev]'
	$(BIN)/python -m compileall -q vcodec
	@touch $@

demo: $(STAMP)
	@mkdir -p demo
	$(BIN)/vcodec encode -f examples/sample.mp4 -o demo/sample.vae --k 32
	$(BIN)/vcodec decode -f demo/sample.vae -o demo/sample.mp4
	$(BIN)/vcodec eval examples/sample.mp4 demo/sample.vae

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal

# CLIPS="a.mp4 b.mkv": what to measure on.  Finished points and anchors are kept in bench/.
bench-rd: $(STAMP)
	$(BIN)/vcodec rd-curve -f $(CLIPS) --k 4,8,16,32,64,128 --anchor x264:veryfast:zerolatency --anchor x264:medium \
		--anchor x265:medium --cache bench/points -o bench/rd

bench-speed: $(STAMP)
	@mkdir -p bench
	$(BIN)/python examples/bench_speed.py $(CLIPS) -o bench/speed.json

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find vcodec tests examples -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)
