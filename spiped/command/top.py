"""The command ``spiped-top``: watches a running daemon."""

from __future__ import annotations

import os
import signal
import sys
import time

from spiped.command.program import leave, program_name, run_program
from spiped.errors import OperatorError
from spiped.lean_typing import NoReturn
from spiped.options.command_line import read_top
from spiped.options.settings import TopOptions
from spiped.process.signals import is_ignored, unblock_signals
from spiped.process.title import name_process
from spiped.top.address import VARIABLE, Address, NoAnswer, read_address
from spiped.top.client import Query, ask
from spiped.top.columns import CONNECTIONS
from spiped.top.plain import header, plain
from spiped.top.snapshot import Record, seen
from spiped.top.view import Order, first_view, natural_order


def main() -> NoReturn:
    name = program_name("spiped-top")
    leave(run_program("spiped-top", name, lambda log: _watch(name, read_top(sys.argv[1:]))))


def _watch(name: str, options: TopOptions) -> int:
    name_process(name)
    if not is_ignored(signal.SIGINT):
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    unblock_signals()
    if sys.stdout is None:
        raise OperatorError("Standard output is closed")
    # what the terminal's character set lacks becomes a question mark
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    order = _order(options.sort)
    address = read_address(options.status, os.environ.get(VARIABLE))
    if options.plain or options.once:  # whoever reads may have had enough
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if options.plain:
        _print_plain(name, address, order, options)
    elif options.once:
        _print_once(address, order, options)
    else:
        _need_library()
        from spiped.top.live import Live

        Live(address, options).run()
    return 0


def _order(field: str) -> Order:
    names = [column.field for column in CONNECTIONS.sortable]
    if field not in names:
        raise OperatorError(
            f"Error parsing argument: --sort {field}: it is one of {', '.join(names)}"
        )
    return natural_order(CONNECTIONS.column(field))


def _need_library() -> None:
    try:
        import rich  # noqa: F401
    except ImportError as error:
        raise OperatorError(
            "The library rich is missing (pip install 'spiped[top]'); --plain does without"
        ) from error


def _two_looks(address: Address, order: Order, options: TopOptions) -> Record:
    """How much there is in a second shows only when one looks again."""
    query = Query(*order, options.limit)
    record = seen(Record(), ask(address, query._replace(limit=1)))
    time.sleep(options.interval)
    return seen(record, ask(address, query))


def _print_once(address: Address, order: Order, options: TopOptions) -> None:
    _need_library()
    from rich.console import Console

    from spiped.top.screen import frame, glyphs_for

    record = _two_looks(address, order, options)
    console = Console(highlight=False, markup=False, emoji=False)
    view = first_view(options.sort)
    for line in frame(record, view, glyphs_for(console.encoding), console.width, None).lines:
        line.rstrip()
        console.print(line, no_wrap=True, crop=True)
    sys.stdout.flush()


def _print_plain(name: str, address: Address, order: Order, options: TopOptions) -> None:
    """One snapshot after the other, each in one piece; or only one."""
    record = _two_looks(address, order, options)
    _write(header())
    while True:
        _write(plain(record.newest, *order))
        if options.once:
            return
        record = _next_look(name, record, address, Query(*order, options.limit), options.interval)


def _next_look(
    name: str, record: Record, address: Address, query: Query, interval: float
) -> Record:
    """Wait for the time to look again, and for as long as there is no answer."""
    silent = False
    while True:
        time.sleep(interval)
        try:
            answer = ask(address, query)
        except NoAnswer as error:
            if not silent:
                _complain(f"{name}: {error.lines[0]}; waiting for it to come back")
            silent = True
            continue
        if silent:
            _complain(f"{name}: {address.name}: it is back")
        return seen(record, answer)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _complain(line: str) -> None:
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)
