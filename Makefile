# Two commands do all the set-up: `make demo` runs the main job, `make test` passes the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# where `make install` puts things
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MAN1DIR ?= $(PREFIX)/share/man/man1
LIBDIR ?= $(PREFIX)/lib/spiped

SOURCES := setup.py pyproject.toml spiped/__init__.py $(shell find _native -name '*.[ch]' -o -name '*.cdef' -o -name '*.py')
PYTHON_FILES := setup.py _native spiped tests bench

.PHONY: all build demo test check bench bench-quick bench-kernels sanitize fuzz fault soak flood install clean

all: build

build: $(VENV)/built

# The extension is built in place, so that a change to Python files needs no new installation.
$(VENV)/built: $(VENV)/ready $(SOURCES)
	PYTHONWARNINGS=ignore $(BIN)/pip install -q --no-build-isolation --no-deps -e .
	$(BIN)/python -m spiped.crypto
	touch $@

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV) || { \
	    echo 'Python lacks venv: on Debian, apt-get install python3-venv python3-dev' >&2; exit 1; }
	$(BIN)/pip install -q --upgrade pip 'setuptools>=77' 'cffi>=1.16'
	$(BIN)/pip install -q 'pycryptodome>=3.19' 'psutil>=5.9' 'rich>=13' 'pytest>=8' 'hypothesis>=6.100'
	touch $@

$(VENV)/checkers: $(VENV)/ready
	$(BIN)/pip install -q 'ruff>=0.6' 'mypy>=1.11' types-psutil types-cffi
	touch $@

$(VENV)/bench-tools: $(VENV)/ready
	$(BIN)/pip install -q 'psutil>=5.9' 'rich>=13' 'matplotlib>=3.8'
	touch $@

demo: build
	@$(BIN)/python -m bench.demo

test: build
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: build $(VENV)/checkers
	$(BIN)/ruff check $(PYTHON_FILES)
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/mypy
	for source in $$(find _native bench -name '*.c'); do \
	    $(CC) -std=gnu11 -O2 -Wall -Wextra -Wmissing-prototypes -Werror -I_native -c $$source -o /dev/null || exit 1; \
	done

# The relay beside everything that people use instead; the report goes to bench/results/.
# BENCH_ARGS: see `python -m bench --help`.
bench: build $(VENV)/bench-tools
	$(BIN)/python -m bench $(BENCH_ARGS)

bench-quick: build $(VENV)/bench-tools
	$(BIN)/python -m bench --quick $(BENCH_ARGS)

# Every kernel, and the packets, beside OpenSSL; needs libssl-dev.
bench-kernels: $(VENV)/ready
	$(BIN)/python -m bench.kernels
	$(BIN)/python -m bench.packets

# The tests of the extension and of everything on top of it, under AddressSanitizer and UBSan.
sanitize: build
	$(BIN)/python tests/sanitize.py

# Fuzz FUZZ_TARGETS (open, connection; both if empty) for FUZZ_SECONDS each; needs clang.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?=
fuzz: build
	$(BIN)/python -m tests.fuzz.run --seconds $(FUZZ_SECONDS) $(FUZZ_TARGETS)

# Every system call of the data path fails in every way, at each state of a connection.
# FAULT_ARGS: see `python -m tests.fault.run --help`.
fault: build
	$(BIN)/python -m tests.fault.run $(FAULT_ARGS)

# A pair of daemons under churn, with workers that are killed and keys that are reloaded; as root.
SOAK_MINUTES ?= 20
soak: build
	$(BIN)/python -m tests.soak --minutes $(SOAK_MINUTES)

# Round trips beside 100,000 strangers.
flood: build
	$(BIN)/python -m tests.flood

install:
	$(PYTHON) -m venv $(LIBDIR)
	$(LIBDIR)/bin/pip install -q --upgrade .
	mkdir -p $(BINDIR) $(MAN1DIR)
	for program in spiped spipe; do \
	    ln -sf $(LIBDIR)/bin/$$program $(BINDIR)/$$program && \
	    install -m 644 man/$$program.1 $(MAN1DIR)/$$program.1 || exit 1; \
	done

clean:
	rm -rf $(VENV) build dist *.egg-info spiped/_native.c spiped/_native*.so
	find . -name __pycache__ -prune -exec rm -rf {} +
