"""The demonstration: a real pipe around an echo target, on this machine.

Starts ``spiped -d`` and ``spiped -e``, sends data through both, compares what comes back, and says
what it took.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress

MIB = 1 << 20
CHUNK = 256 << 10
START_LIMIT = 20.0  # seconds

ECHO = """
import socket, sys, threading
listener = socket.socket(fileno=int(sys.argv[1]))
def serve(client):
    while data := client.recv(262144):
        client.sendall(data)
    client.shutdown(socket.SHUT_WR)
while True:
    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def echo_target() -> Iterator[int]:
    """A process that returns what it gets; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        process = subprocess.Popen([sys.executable, "-c", ECHO, str(fd)], pass_fds=[fd])
        try:
            yield int(listener.getsockname()[1])
        finally:
            process.kill()
            process.wait()


@contextmanager
def daemon(mode: str, source: int, target: int, key: Path) -> Iterator[psutil.Process]:
    """One end of the pipe, in the foreground, from when it listens."""
    command = [
        os.path.join(sysconfig.get_path("scripts"), "spiped"),
        mode,
        *("-s", f"[127.0.0.1]:{source}", "-t", f"[127.0.0.1]:{target}"),
        *("-k", str(key), "-F"),
    ]
    process = psutil.Popen(command)
    try:
        wait_until_it_listens(process, source)
        yield process
    finally:
        process.terminate()
        process.wait()


def wait_until_it_listens(process: psutil.Process, port: int) -> None:
    deadline = time.monotonic() + START_LIMIT
    while not any(c.laddr.port == port for c in process.net_connections("tcp")):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("spiped did not start")
        time.sleep(0.05)


def send(sock: socket.socket, total: int, digests: list[str]) -> None:
    """Send ``total`` bytes of which no two chunks are alike, and the end."""
    digest = hashlib.sha256()
    material = os.urandom(CHUNK)
    for number in range(total // CHUNK):
        chunk = number.to_bytes(8, "big") + material[8:]
        digest.update(chunk)
        sock.sendall(chunk)
    sock.shutdown(socket.SHUT_WR)
    digests.append(digest.hexdigest())


def transfer(port: int, total: int, progress: Progress) -> tuple[int, bool]:
    """Send and receive; returns the bytes that came back, and whether they are those that left."""
    task = progress.add_task("through the pipe and back", total=total)
    sent: list[str] = []
    digest, received = hashlib.sha256(), 0
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sender = threading.Thread(target=send, args=(sock, total, sent))
        sender.start()
        while data := sock.recv(CHUNK):
            digest.update(data)
            received += len(data)
            progress.update(task, completed=received)
        sender.join()
    return received, received == total and sent == [digest.hexdigest()]


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """What the processes and their workers have used."""
    trees = [p for process in processes for p in (process, *process.children(recursive=True))]
    return sum(p.cpu_times().user + p.cpu_times().system for p in trees)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mib", type=int, default=512, help="how much to send")
    total = parser.parse_args().mib * MIB
    console = Console()
    with tempfile.TemporaryDirectory() as directory, echo_target() as target:
        command = [sys.executable, "-m", "spiped.crypto"]
        how = {"check": True, "capture_output": True, "text": True}
        # not here, where the sources may be, and what is built elsewhere
        kernels = subprocess.run(command, cwd=directory, **how).stdout
        key = Path(directory, "key")
        key.touch(0o600)
        key.write_bytes(os.urandom(32))
        middle, source = free_port(), free_port()
        with (
            daemon("-d", middle, target, key) as server,
            daemon("-e", source, middle, key) as client,
        ):
            # no speed: it is in the summary
            columns = ("{task.description}", BarColumn(), DownloadColumn(True))
            with Progress(*columns, console=console) as progress:
                begin = time.monotonic()
                received, intact = transfer(source, total, progress)
                seconds = time.monotonic() - begin
            workers = [len(process.children()) for process in (server, client)]
            used = cpu_seconds([server, client])
    console.print(f"workers:    {workers[0]} behind spiped -d, {workers[1]} behind spiped -e")
    for line in kernels.splitlines():
        if line.startswith("backend") or line.endswith("selected"):
            console.print(f"kernel:     {line.removesuffix('selected').rstrip()}", highlight=False)
    console.print(f"throughput: {received / seconds / 1e6:.0f} MB/s each way")
    console.print(f"cpu:        {used / (2 * received / 1e9):.2f} s per GB carried, both ends")
    console.print(f"digest:     {'the same' if intact else 'DIFFERENT'}")
    return 0 if intact else 1


if __name__ == "__main__":
    sys.exit(main())
