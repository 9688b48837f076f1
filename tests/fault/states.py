"""The states of a connection, in which faults are injected.

A state is how to get there and how to go on.  The fault is armed in between, and strikes the first
call that it is about: of what the connection does next, and no earlier.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from spiped.proto.terms import Role
from tests.fault.conversation import Conversation, Side

if TYPE_CHECKING:
    from tests.fault.scene import Scene

Step = Callable[["Scene", Conversation], None]

NONCE_BYTES = 32


class State(NamedTuple):
    name: str
    enter: Step
    go_on: Step
    slow: bool = False  # the system holds little of what the daemon sends
    long: bool = False  # it takes a second until the system repeats a SYN
    roles: tuple[Role, ...] = (Role.C, Role.S)


# Ways there


def nothing(scene: Scene, it: Conversation) -> None:
    pass


def wait_for_nonce(scene: Scene, it: Conversation) -> None:
    """The daemon waits for our nonce: we have its own."""
    scene.begin(it)
    scene.until(lambda: it.crypt.heard_in_handshake >= NONCE_BYTES, "the daemon sends its nonce")
    scene.quiet()


def wait_for_hello(scene: Scene, it: Conversation) -> None:
    """The daemon waits for our Diffie-Hellman value."""
    wait_for_nonce(scene, it)
    it.crypt.allowed = 1
    scene.quiet()


def wait_for_exponentiation(scene: Scene, it: Conversation) -> None:
    """The next that we say makes the daemon compute."""
    if scene.role is Role.C:
        wait_for_nonce(scene, it)
    else:
        wait_for_hello(scene, it)


def about_to_connect(scene: Scene, it: Conversation) -> None:
    """The next that happens makes the daemon connect to the target."""
    if scene.role is Role.S:
        wait_for_hello(scene, it)


def hang(scene: Scene, it: Conversation) -> None:
    """The daemon is connecting to the target, which is too crowded to answer."""
    scene.crowd_target()
    it.expects_target = False
    scene.begin(it)
    it.crypt.allowed = 2
    scene.quiet()


def establish(scene: Scene, it: Conversation) -> None:
    scene.begin(it)
    scene.make_ready(it)
    for side in it.sides:
        side.say(b"hello")
    scene.until(lambda: it.has_arrived, "both ends hear of each other")
    scene.quiet()


def slow(side: str) -> Step:
    """This side does not read what is on its way to it."""

    def enter(scene: Scene, it: Conversation) -> None:
        establish(scene, it)
        scene.stop_up(it, _side(it, side))

    return enter


def half_closed(side: str) -> Step:
    """This side has finished, and the other one knows."""

    def enter(scene: Scene, it: Conversation) -> None:
        establish(scene, it)
        it.finish(_side(it, side))
        other = it.other(_side(it, side))
        scene.until(lambda: other.ending is not None, "the end is passed on")
        scene.quiet()

    return enter


def draining(side: str) -> Step:
    """The other side has failed; this one is slow to read what it said before."""

    def enter(scene: Scene, it: Conversation) -> None:
        slow(side)(scene, it)
        it.reset(it.other(_side(it, side)))
        scene.quiet()

    return enter


# Ways on


def begin(scene: Scene, it: Conversation) -> None:
    scene.begin(it)
    scene.complete(it)


def complete(scene: Scene, it: Conversation) -> None:
    scene.complete(it)


def begin_or_complete(scene: Scene, it: Conversation) -> None:
    if it.accepted.peer is None:
        scene.begin(it)
    scene.complete(it)


def clear_target(scene: Scene, it: Conversation) -> None:
    scene.clear_target()
    it.expects_target = True
    scene.complete(it)


def stop_up(side: str) -> Step:
    """More is said than this side takes, and then it takes it."""

    def go_on(scene: Scene, it: Conversation) -> None:
        scene.stop_up(it, _side(it, side))
        read(side)(scene, it)

    return go_on


def read(side: str, then: Step = complete) -> Step:
    """This side takes what is on its way to it."""

    def go_on(scene: Scene, it: Conversation) -> None:
        peer = _side(it, side).peer
        assert peer is not None
        peer.reading = True
        then(scene, it)

    return go_on


def wait_for_end(scene: Scene, it: Conversation) -> None:
    scene.over(it)


def finish_both(scene: Scene, it: Conversation) -> None:
    for side in it.sides:
        it.finish(side)
    scene.over(it)


def reset(side: str) -> Step:
    def go_on(scene: Scene, it: Conversation) -> None:
        it.reset(_side(it, side))
        scene.over(it)

    return go_on


def reset_while_connecting(scene: Scene, it: Conversation) -> None:
    it.reset(it.accepted)
    scene.quiet()
    scene.clear_target()


def forge(scene: Scene, it: Conversation) -> None:
    it.crypt.say(b"the last that is authentic")
    it.crypt.forge()
    scene.over(it)


def refuse(scene: Scene, it: Conversation) -> None:
    it.crypt.lie()
    scene.over(it)


def reload(scene: Scene, it: Conversation) -> None:
    scene.reload()


def _side(it: Conversation, side: str) -> Side:
    return it.plain if side == "plain" else it.crypt


STATES = {
    state.name: state
    for state in (
        State("accepting", nothing, begin),
        State("to connect", about_to_connect, begin_or_complete),
        State("connecting", hang, clear_target, long=True, roles=(Role.C,)),
        State("nonce", wait_for_nonce, complete),
        State("hello", wait_for_hello, complete),
        State("computing", wait_for_exponentiation, complete),
        State("refused", wait_for_hello, refuse),
        State("reset in handshake", wait_for_hello, reset("crypt")),
        State("ready, no target", hang, clear_target, long=True, roles=(Role.S,)),
        State("idle", establish, complete),
        State("filling plain", establish, stop_up("plain"), slow=True),
        State("filling crypt", establish, stop_up("crypt"), slow=True),
        State("unsent to plain", slow("plain"), read("plain"), slow=True),
        State("unsent to crypt", slow("crypt"), read("crypt"), slow=True),
        State("half-closed by plain", half_closed("plain"), complete),
        State("half-closed by crypt", half_closed("crypt"), complete),
        State("ending", establish, finish_both),
        State("reset by plain", establish, reset("plain")),
        State("reset by crypt", establish, reset("crypt")),
        State("forged", establish, forge),
        State("reset while connecting", hang, reset_while_connecting),
        State("draining to plain", draining("plain"), read("plain", wait_for_end), slow=True),
        State("draining to crypt", draining("crypt"), read("crypt", wait_for_end), slow=True),
        State("a worker starting", nothing, reload),
    )
}
