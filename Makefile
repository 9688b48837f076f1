# Two commands do all the set-up: `make demo` runs the main job, `make test` passes the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Where `make install` puts things, all below DESTDIR if that is set.  LIBDIR has spiped and all that
# it needs, and goes where BINDIR goes.
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
MAN1DIR ?= $(MANDIR)/man1
SHAREDIR ?= $(PREFIX)/share
LIBDIR ?= $(patsubst %/,%,$(dir $(BINDIR)))/lib/spiped
DESTDIR ?=

PROGRAMS := spiped spipe spipedctl spiped-top

# With what `make install` installs, and the interpreter that will run it
INSTALLER := build/installer
INTERPRETER ?= $(shell $(PYTHON) -c 'import sys; print(sys.executable)')

SOURCES := setup.py pyproject.toml spiped/__init__.py $(shell find _native -name '*.[ch]' -o -name '*.cdef' -o -name '*.py')
PYTHON_FILES := setup.py _native spiped tests bench

.PHONY: all build demo test acceptance check bench bench-quick bench-kernels counts counts-update sanitize fuzz fault soak flood dist install uninstall clean FORCE

all: build

build: $(VENV)/built

# The extension is built in place, so that a change to Python files needs no new installation.
$(VENV)/built: $(VENV)/ready $(SOURCES) init/program.py
	PYTHONWARNINGS=ignore $(BIN)/pip install -q --no-build-isolation --no-deps -e .
	$(BIN)/python init/program.py directory=$(BIN) interpreter=$(abspath $(BIN))/python
	$(BIN)/python -m spiped.crypto
	touch $@

$(VENV)/ready: pyproject.toml $(VENV)/interpreter
	$(PYTHON) -m venv $(VENV) || { \
	    echo 'Python lacks venv: on Debian, apt-get install python3-venv python3-dev' >&2; exit 1; }
	$(BIN)/pip install -q --upgrade pip 'setuptools>=66' 'cffi>=1.15'
	$(BIN)/pip install -q 'pycryptodome>=3.11' 'psutil>=5.9' 'h11>=0.14' 'rich>=13' \
	    'pytest>=8' 'pytest-xdist>=3' 'hypothesis>=6.100' 'prometheus-client>=0.16'
	touch $@

# Another interpreter needs another environment; without PYTHON=, the one that is there will do.
$(VENV)/interpreter: $(if $(filter file,$(origin PYTHON)),,FORCE)
	@mkdir -p $(VENV)
	@command -v $(PYTHON) > $@.new || { echo 'There is no $(PYTHON)' >&2; rm $@.new; exit 1; }
	@if cmp -s $@.new $@; then rm $@.new; else \
	    rm -rf $(filter-out %.new,$(wildcard $(VENV)/*)); mv $@.new $@; fi

FORCE:

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

# What takes minutes, or tools and packages from elsewhere.
acceptance: build
	$(BIN)/python -m pytest -m acceptance $(PYTEST_ARGS)

check: build $(VENV)/checkers
	$(BIN)/ruff check $(PYTHON_FILES)
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/mypy
	for source in $$(find _native bench -name '*.c'); do \
	    $(CC) -std=gnu11 -O2 -Wall -Wextra -Wmissing-prototypes -Werror -I_native -c $$source -o /dev/null || exit 1; \
	done

# The relay beside everything that people use instead; the report goes to bench/results/, one for each
# type of CPU.  BENCH_ARGS="--base TREE" has ours as built in another tree beside it.
# BENCH_ARGS: see `python -m bench --help`.
bench: build $(VENV)/bench-tools
	$(BIN)/python -m bench $(BENCH_ARGS)

bench-quick: build $(VENV)/bench-tools
	$(BIN)/python -m bench --quick $(BENCH_ARGS)

# Every kernel, and the packets, beside OpenSSL; needs libssl-dev.
bench-kernels: $(VENV)/ready
	$(BIN)/python -m bench.kernels
	$(BIN)/python -m bench.packets

# What the data plane spends, in instructions and calls of the system: the table that the tests compare,
# and its renewal.  Needs valgrind and strace.
counts: build
	$(BIN)/python -m tests.counts

counts-update: build
	$(BIN)/python -m tests.counts --update

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

# The source archive, and the wheel that is built from it and not from this tree, in dist/.
dist: $(VENV)/ready
	$(BIN)/pip install -q 'build>=1'
	rm -rf dist
	$(BIN)/python -m build

# Under any umask: what is installed is for everybody.
install:
	umask 022 && \
	mkdir -p '$(DESTDIR)$(LIBDIR)' '$(DESTDIR)$(BINDIR)' '$(DESTDIR)$(MAN1DIR)' && \
	$(PYTHON) -m venv $(INSTALLER) && \
	$(INSTALLER)/bin/pip install -q --target '$(DESTDIR)$(LIBDIR).new' '.[status,top]' && \
	rm -rf $(INSTALLER) '$(DESTDIR)$(LIBDIR).new/bin' '$(DESTDIR)$(LIBDIR)' && \
	mv '$(DESTDIR)$(LIBDIR).new' '$(DESTDIR)$(LIBDIR)' && \
	$(PYTHON) init/program.py directory='$(DESTDIR)$(BINDIR)' \
	    interpreter=$(INTERPRETER) library='$(LIBDIR)' && \
	$(PYTHON) -B -m spiped.options.completions directory='$(DESTDIR)$(SHAREDIR)' && \
	install -m 644 man/spiped.1 man/spipe.1 man/spipedctl.1 man/spiped-top.1 '$(DESTDIR)$(MAN1DIR)'

uninstall:
	rm -rf '$(DESTDIR)$(LIBDIR)'
	rm -f $(foreach program,$(PROGRAMS),'$(DESTDIR)$(BINDIR)/$(program)')
	rm -f $(foreach program,$(PROGRAMS),'$(DESTDIR)$(MAN1DIR)/$(program).1')
	rm -f $(foreach program,$(PROGRAMS),'$(DESTDIR)$(SHAREDIR)/bash-completion/completions/$(program)')
	rm -f $(foreach program,$(PROGRAMS),'$(DESTDIR)$(SHAREDIR)/zsh/site-functions/_$(program)')
	rm -f $(foreach program,$(PROGRAMS),'$(DESTDIR)$(SHAREDIR)/fish/vendor_completions.d/$(program).fish')

clean:
	rm -rf $(VENV) build dist *.egg-info spiped/_native.c spiped/_native*.so
	find . -name __pycache__ -prune -exec rm -rf {} +
