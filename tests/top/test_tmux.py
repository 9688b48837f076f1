"""The display in tmux, which is a terminal that others have written."""

from __future__ import annotations

import shlex

from tests.daemons import Stage, needs, ours, wait_until
from tests.top.server import StatusServer


def test_it_is_used_in_tmux_as_in_any_terminal(stage: Stage, server: StatusServer) -> None:
    tmux = (needs("tmux"), "-S", str(stage.path("tmux")), "-f", "/dev/null")
    stage.env |= {"TERM": "xterm-256color", "SHELL": "/bin/sh", "PS1": "$ "}

    def tell(*words: str) -> str:
        result = stage.run(*tmux, *words)
        assert result.returncode == 0, result.stderr
        return result.stdout.decode()

    def shows(*words: str) -> bool:
        text = tell("capture-pane", "-p")
        return all(word in text for word in words)

    program = shlex.join([ours("spiped-top"), "--status", server.option, "--interval", "0.1"])
    command = f"stty -echo; echo before; {program}; echo after $?; exec sleep 1000"
    tell("new-session", "-d", "-x", "80", "-y", "24", command)
    try:
        wait_until(lambda: shows("[10.0.0.3]:40003", "THROUGHPUT", "▁"), "it is shown")
        assert not shows("before")
        tell("send-keys", "A")
        wait_until(lambda: shows("AGE▼"), "it is sorted by age")
        tell("send-keys", "Down", "/", "1", "0", "Escape")
        tell("resize-window", "-x", "40", "-y", "10")
        wait_until(lambda: shows("q quit", "CONN", "sealed"), "it fits")
        tell("resize-window", "-x", "80", "-y", "24")
        tell("send-keys", "q")
        wait_until(lambda: shows("before", "after 0"), "the screen of before is back")
        assert tell("display-message", "-p", "#{alternate_on} #{cursor_flag}") == "0 1\n"
    finally:
        tell("kill-server")
