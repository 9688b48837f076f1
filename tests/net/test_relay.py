"""The data planes: data intact, ends passed on, no failure that looks like one, nobody harmed."""

from __future__ import annotations

import array
import os
import resource
import socket
from collections.abc import Callable

import pytest

from spiped.crypto.sizes import MESSAGE_MAX, PACKET_BYTES
from spiped.observe.counters import Field
from spiped.plane.diagnosis import TEXTS
from spiped.plane.ending import Cause, Reason
from spiped.proto.handshake import Role
from spiped.proto.session import BATCH_PACKETS
from tests.net.network import opposite_end
from tests.net.rig import ANY, END, RESET, Half, Pair, Peer, Rig, data_of, unreceived, waste
from tests.net.voice import begin

BATCH = BATCH_PACKETS * MESSAGE_MAX
MEBIBYTE = 1 << 20
SMALL = 65536  # of kernel buffers; the system doubles it
STUCK = 150_000  # more than a peer's small buffer holds, and less than we hold for it

TRANSPORTS = [("tcp", "tcp"), ("unix", "tcp"), ("tcp", "unix"), ("unix", "unix")]
over_all_transports = pytest.mark.parametrize(
    ("plain", "crypt"), TRANSPORTS, ids=[f"{plain}-{crypt}" for plain, crypt in TRANSPORTS]
)
in_both_roles = pytest.mark.parametrize("role", list(Role), ids=lambda role: role.name)

SIZES = [1, 1023, 1024, 1025, BATCH - 1, BATCH, BATCH + 1, 3 * MEBIBYTE + 7]
STEPS = [1, 1059, 1060, 1061, ANY]

# Who is at the encrypted side and who at the plain one, in our words
CRYPT_PEER = {Role.C: "target", Role.S: "client"}
PLAIN_PEER = {Role.C: "client", Role.S: "target"}
MATRIX = [(size, step) for size in SIZES for step in STEPS if size // step <= 4000]


def finish_both(rig: Rig, pair: Pair) -> None:
    """End both directions and see that everything ends well."""
    pair.client.finish()
    pair.target.finish()
    rig.until(lambda: pair.client.ending and pair.target.ending and pair.ended())
    assert (pair.client.ending, pair.target.ending) == (END, END)
    assert (pair.C.cause, pair.S.cause) == (Cause.CLEAN, Cause.CLEAN)


def echo(rig: Rig, pair: Pair) -> None:
    """See that a connection works in both directions."""
    for writer, reader in ((pair.client, pair.target), (pair.target, pair.client)):
        so_far = len(reader.received)
        writer.write(b"still there?")
        rig.until(lambda r=reader, n=so_far: len(r.received) == n + 12)
        assert reader.received.endswith(b"still there?")


# Data


@pytest.mark.parametrize(("size", "step"), MATRIX)
def test_data_arrives_intact_both_ways(rig: Rig, size: int, step: int) -> None:
    """Whatever its length, and in whatever pieces it comes."""
    pair = rig.pair()
    up, down = data_of(size), data_of(size, salt=3)
    for peer, data in ((pair.client, up), (pair.target, down)):
        peer.write_size = step
        peer.write(data)
    finish_both(rig, pair)
    assert pair.target.received == up
    assert pair.client.received == down


@over_all_transports
def test_every_transport_carries_data_both_ways(rig: Rig, plain: str, crypt: str) -> None:
    pair = rig.pair(plain, crypt)
    up, down = data_of(2 * MEBIBYTE + 1), data_of(MEBIBYTE, salt=1)
    pair.client.write(up)
    pair.target.write(down)
    finish_both(rig, pair)
    assert pair.target.received == up
    assert pair.client.received == down


@in_both_roles
def test_packets_may_be_cut_anywhere(rig: Rig, role: Role) -> None:
    """Two packets arrive in two pieces, once for each of the 2,119 places to cut them."""
    half = rig.half(role, plain="unix", crypt="unix")  # where "has been received" can be seen
    message = data_of(MESSAGE_MAX + 5)
    for cut in range(1, 2 * PACKET_BYTES):
        packets = half.sealer.seal(message)
        del half.plain.received[:]
        half.crypt.sock.sendall(packets[:cut])
        rig.until(lambda: unreceived(half.crypt.sock) == 0, rig.turn)
        half.plain.pump()
        assert half.plain.received == message[: MESSAGE_MAX * (cut // PACKET_BYTES)]
        half.crypt.sock.sendall(packets[cut:])
        rig.until(lambda: len(half.plain.received) == len(message))
        assert half.plain.received == message


@in_both_roles
def test_the_wire_carries_packets_of_the_role(rig: Rig, role: Role) -> None:
    half = rig.half(role)
    half.plain.write(b"up")
    rig.until(lambda: len(half.crypt.received) == PACKET_BYTES)
    assert half.opened() == b"up"
    assert half.opener.fault is None
    half.write(b"down")
    rig.until(lambda: half.plain.received == b"down")


def test_a_small_write_leaves_at_once_as_one_packet(rig: Rig) -> None:
    half = rig.half()
    for count in range(1, 6):
        half.plain.write(b"x" * count)
        rig.until(lambda count=count: len(half.crypt.received) == count * PACKET_BYTES)


def test_a_slow_reader_gets_everything(rig: Rig) -> None:
    pair = rig.pair(buffers=SMALL)
    data = data_of(400_000)
    pair.target.read_size = 333
    pair.client.write(data)
    finish_both(rig, pair)
    assert pair.target.received == data


def test_small_messages_pass_beside_bulk_transfers(rig: Rig) -> None:
    """Bulk connections that never pause do not keep a small message from arriving."""
    bulk = [rig.pair() for _ in range(4)]
    small = rig.pair()
    for _ in range(10):
        for pair in bulk:
            pair.client.write(data_of(MEBIBYTE))
        echo(rig, small)
    assert len(small.target.received) == 10 * 12


def test_a_second_message_does_not_wait_behind_other_connections(rig: Rig) -> None:
    """Reading until a UNIX socket is empty is no reason to be taken for a bulk transfer."""
    halves = [rig.half(plain="unix", crypt="unix") for _ in range(50)]
    for half in halves:
        half.plain.sock.send(b"first")
    rig.turn()
    rig.turn()
    for half in halves[-3:]:
        half.plain.sock.send(b"second")
    rig.turn()
    rig.turn()
    for half in halves[-3:]:
        half.crypt.pump()
        assert len(half.crypt.received) == 2 * PACKET_BYTES


# Backpressure


@pytest.mark.parametrize("direction", ["up", "down"])
@over_all_transports
def test_a_reader_that_does_not_read_stops_the_writer(
    rig: Rig, plain: str, crypt: str, direction: str
) -> None:
    """And only that direction, and as soon as it reads, all goes on."""
    pair = rig.pair(plain, crypt, buffers=SMALL)
    writer, reader = (pair.client, pair.target) if direction == "up" else (pair.target, pair.client)
    data = data_of(8 * MEBIBYTE)
    reader.reading = False
    writer.write(data)
    rig.rest()
    # three hops' buffers, and a batch that is waiting on each of the two connections
    assert writer.written < 2 * MEBIBYTE
    reader.write(b"the other direction")
    rig.until(lambda: writer.received == b"the other direction")
    rig.rest()
    assert waste(rig) < 0.5
    assert writer.written < 2 * MEBIBYTE
    reader.reading = True
    finish_both(rig, pair)
    assert reader.received == data


def test_a_stopped_connection_does_not_hold_up_others(rig: Rig) -> None:
    stopped, other = rig.pair(buffers=SMALL), rig.pair()
    stopped.target.reading = False
    stopped.client.write(data_of(MEBIBYTE))
    rig.rest()
    echo(rig, other)


# Ends


@over_all_transports
@pytest.mark.parametrize("first", ["client", "target"])
def test_half_close_leaves_the_other_direction_open(
    rig: Rig, plain: str, crypt: str, first: str
) -> None:
    pair = rig.pair(plain, crypt)
    one, other = (pair.client, pair.target)[:: 1 if first == "client" else -1]
    one.write(data_of(5000))
    one.finish()
    rig.until(lambda: other.ending)
    assert other.ending == END
    assert other.received == data_of(5000)
    rig.rest()
    assert not pair.ended()
    assert waste(rig) < 0.5
    for count in range(1, 4):
        other.write(data_of(100_000))
        rig.until(lambda count=count: len(one.received) == count * 100_000)
    other.finish()
    rig.until(lambda: one.ending and pair.ended())
    assert one.ending == END
    assert (pair.C.cause, pair.S.cause) == (Cause.CLEAN, Cause.CLEAN)


def test_an_empty_connection_ends_well(rig: Rig) -> None:
    finish_both(rig, rig.pair())


def test_an_end_waits_behind_the_data_before_it(rig: Rig) -> None:
    pair = rig.pair(buffers=SMALL)
    pair.target.reading = False
    pair.client.write(data_of(MEBIBYTE))
    pair.client.finish()
    rig.rest()
    pair.target.reading = True
    finish_both(rig, pair)
    assert pair.target.received == data_of(MEBIBYTE)


def test_an_end_is_reported_once_with_what_was_carried(rig: Rig) -> None:
    first, second = rig.pair(), rig.pair("unix", "unix")
    first.client.write(data_of(3000))
    first.target.write(data_of(200_000))
    second.target.write(b"x")
    finish_both(rig, first)
    finish_both(rig, second)
    assert first.C.ending is not None
    assert (first.C.ending.sealed, first.C.ending.opened) == (3000, 200_000)
    assert first.S.ending is not None
    assert (first.S.ending.sealed, first.S.ending.opened) == (200_000, 3000)
    assert first.C.ending.detail == ""
    assert rig.slot[Field.SEALED] == rig.slot[Field.OPENED] == 3000 + 200_000 + 1
    rig.rest()  # an Outcome that is called again fails


def test_keys_of_connections_do_not_mix(rig: Rig) -> None:
    """Every connection counts its own packets."""
    pairs = [rig.pair() for _ in range(3)]
    for turn in range(3):
        for number, pair in enumerate(pairs):
            pair.client.write(data_of(1500 + number, salt=turn))
        rig.until(
            lambda turn=turn: all(
                len(pair.target.received) == (turn + 1) * (1500 + number)
                for number, pair in enumerate(pairs)
            )
        )
    for number, pair in enumerate(pairs):
        assert pair.target.received == b"".join(data_of(1500 + number, salt) for salt in range(3))


# Failures: what was verified before is delivered, the survivor is reset, others go on

Breakage = Callable[[Rig, Half], bytes]


def _bad_tag(rig: Rig, half: Half) -> bytes:
    packet = half.sealer.seal(b"never delivered")
    return packet[:-1] + bytes([packet[-1] ^ 1])


def _replay(rig: Rig, half: Half) -> bytes:
    half.sealer.number -= 1
    packet = half.sealer.seal(b"never delivered")
    half.sealer.number += 1
    return packet


def _gap(rig: Rig, half: Half) -> bytes:
    half.sealer.number += 1
    return half.sealer.seal(b"never delivered")


def _forge(length: int) -> Breakage:
    return lambda rig, half: half.forge_length(rig.crypto, length)


BAD_PACKETS: dict[str, tuple[Breakage, Reason]] = {
    "a bad tag": (_bad_tag, Reason.BAD_TAG),
    "a replayed packet": (_replay, Reason.BAD_TAG),
    "a missing packet": (_gap, Reason.BAD_TAG),
    "garbage": (lambda rig, half: os.urandom(PACKET_BYTES), Reason.BAD_TAG),
    "length 0": (_forge(0), Reason.BAD_LENGTH),
    "length 1025": (_forge(1025), Reason.BAD_LENGTH),
    "length 2^32-1": (_forge(2**32 - 1), Reason.BAD_LENGTH),
}


@in_both_roles
@pytest.mark.parametrize("position", ["first", "in a batch", "in the next batch"])
@pytest.mark.parametrize("what", BAD_PACKETS)
def test_a_bad_packet_ends_the_connection_behind_what_was_verified(
    rig: Rig, role: Role, what: str, position: str
) -> None:
    if (what, position) == ("a replayed packet", "first"):
        return  # there is nothing to be replayed yet
    breakage, reason = BAD_PACKETS[what]
    detail = TEXTS[reason].format(CRYPT_PEER[role])
    other = rig.pair()
    half = rig.half(role)
    verified = b""
    if position != "first":
        verified = data_of(3 * MESSAGE_MAX + 1)
        half.write(verified)
    if position == "in the next batch":
        rig.until(lambda: half.plain.received == verified)
    half.crypt.write(breakage(rig, half))
    half.write(b"behind the bad one")
    rig.until(lambda: half.plain.ending and half.crypt.ending and half.ended())
    assert half.plain.received == verified
    assert (half.plain.ending, half.crypt.ending) == (RESET, RESET)
    assert half.outcome.reason is reason
    assert half.outcome.ending == (Cause.PACKET, detail, 0, len(verified))
    echo(rig, other)
    finish_both(rig, other)


@pytest.mark.parametrize("length", [1, 1059])
@pytest.mark.parametrize("whole", [0, 2])
def test_an_end_inside_a_packet_is_a_failure(rig: Rig, whole: int, length: int) -> None:
    half = rig.half()
    verified = data_of(whole * MESSAGE_MAX)
    if whole:
        half.write(verified)
    half.crypt.write(half.sealer.seal(b"cut")[:length])
    half.crypt.finish()
    rig.until(lambda: half.plain.ending and half.ended())
    assert half.plain.received == verified
    assert half.plain.ending == RESET
    detail = "the stream from the target ends inside a packet"
    assert half.outcome.ending == (Cause.PACKET, detail, 0, len(verified))


@pytest.mark.parametrize("received", [True, False], ids=["received", "on its way"])
@in_both_roles
def test_a_reset_of_the_plain_side_reaches_the_other(rig: Rig, role: Role, received: bool) -> None:
    other, half = rig.pair(), rig.half(role)
    data = data_of(5000)
    half.plain.sock.sendall(data)
    if received:
        rig.until(lambda: len(half.crypt.received) == 5 * PACKET_BYTES)
    half.plain.reset()
    rig.until(lambda: half.crypt.ending and half.ended())
    assert half.crypt.ending == RESET
    assert half.opened() == data
    assert half.outcome.ending == (Cause.RESET, f"reset by the {PLAIN_PEER[role]}", 5000, 0)
    echo(rig, other)


@pytest.mark.parametrize("received", [True, False], ids=["received", "on its way"])
@in_both_roles
def test_a_reset_of_the_encrypted_side_reaches_the_other(
    rig: Rig, role: Role, received: bool
) -> None:
    other, half = rig.pair(), rig.half(role)
    data = data_of(5000)
    half.crypt.sock.sendall(half.sealer.seal(data))
    if received:
        rig.until(lambda: half.plain.received == data)
    half.crypt.reset()
    rig.until(lambda: half.plain.ending and half.ended())
    assert half.plain.ending == RESET
    assert half.plain.received == data
    assert half.outcome.ending == (Cause.RESET, f"reset by the {CRYPT_PEER[role]}", 0, 5000)
    echo(rig, other)


@pytest.mark.parametrize("side", ["plain", "crypt"])
@pytest.mark.parametrize("ended", [False, True], ids=["open", "after its end"])
def test_a_reset_is_noticed_at_once_on_an_idle_connection(rig: Rig, side: str, ended: bool) -> None:
    """Nobody has to write for it, also when the stream from there has ended before."""
    half = served(rig)
    lost, survivor = (half.plain, half.crypt) if side == "plain" else (half.crypt, half.plain)
    if ended:
        lost.finish()
        rig.until(lambda: survivor.ending == END)
        survivor.ending = None
    rig.rest()
    assert not half.ended()
    lost.reset()
    rig.until(lambda: half.ended() and survivor.ending)
    # also where Linux calls it a broken pipe, because the stream has ended before
    who = (PLAIN_PEER if side == "plain" else CRYPT_PEER)[Role.C]
    assert half.outcome.ending == (Cause.RESET, f"reset by the {who}", 0, 1)
    # and a stream that has ended cannot fail any more: what is written to it does
    assert survivor.ending == (END if ended else RESET)
    if ended:
        assert is_broken(survivor)


def served(rig: Rig) -> Half:
    """An encrypting end whose other end has served it: it has said something."""
    half = rig.half()
    half.write(b"!")
    rig.until(lambda: half.plain.received == b"!")
    return half


def is_broken(peer: Peer) -> bool:
    """Writing to it fails, if not at the first attempt then at the second."""
    try:
        for _ in range(2):
            peer.sock.send(b"x")
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize("side", ["plain", "crypt"])
def test_writing_to_a_peer_that_has_closed_is_a_failure(rig: Rig, side: str) -> None:
    """A FIN alone is a half-close; the reset that answers our data says that nobody reads."""
    half = served(rig)
    closed, survivor = (half.plain, half.crypt) if side == "plain" else (half.crypt, half.plain)
    closed.close()
    rig.until(lambda: survivor.ending)
    assert survivor.ending == END
    rig.rest()
    assert not half.ended()
    for _ in range(2):
        if side == "plain":
            half.write(b"too late")
        else:
            half.plain.write(b"too late")
    rig.until(half.ended)
    who = (PLAIN_PEER if side == "plain" else CRYPT_PEER)[Role.C]
    assert half.outcome.ending is not None
    assert half.outcome.ending[:2] == (Cause.RESET, f"reset by the {who}")
    assert is_broken(survivor)


@pytest.mark.parametrize("side", ["plain", "crypt"])
def test_a_survivor_that_is_slow_gets_the_rest_before_the_reset(rig: Rig, side: str) -> None:
    """The other side fails while its data waits, in our memory and in the system's."""
    half = rig.half(buffers=SMALL)
    lost, survivor = (half.crypt, half.plain) if side == "crypt" else (half.plain, half.crypt)
    data = data_of(MEBIBYTE)
    survivor.reading = False
    survivor.read_size = 3001
    (half.write if side == "crypt" else half.plain.write)(data)
    rig.rest()
    sent = lost.written
    assert sent < MEBIBYTE, "the connection must be stopped by now"
    lost.reset()
    rig.rest()
    assert not half.ended()
    assert waste(rig) < 0.5
    survivor.reading = True
    rig.until(lambda: survivor.ending and half.ended())
    assert survivor.ending == RESET
    received = survivor.received if side == "crypt" else half.opened()
    assert not half.opener.inside_packet
    assert data.startswith(received)
    # the reset may have overtaken what was still in the sender's own system
    assert len(received) > MEBIBYTE // 10
    assert half.outcome.ending is not None
    who = (CRYPT_PEER if side == "crypt" else PLAIN_PEER)[Role.C]
    assert half.outcome.ending[:2] == (Cause.RESET, f"reset by the {who}")


def test_what_ended_well_before_a_reset_still_arrives(rig: Rig) -> None:
    """The survivor has ended its own direction, and is slow to read ours, which has ended too."""
    half = rig.half(buffers=SMALL)
    half.plain.reading = half.crypt.reading = False
    opened = -1
    while opened < rig.slot[Field.OPENED]:  # until we have to wait for the plain side
        opened = rig.slot[Field.OPENED]
        half.write(data_of(40_000))
        rig.rest()
    half.crypt.finish()
    data = data_of(STUCK)
    half.plain.write(data)
    half.plain.finish()
    rig.rest()
    assert half.crypt.idle
    assert half.plain.idle
    assert not half.ended()
    half.plain.reset()
    rig.rest()
    half.crypt.reading = True
    rig.until(lambda: half.crypt.ending and half.ended())
    assert half.opened() == data
    assert half.outcome.cause is Cause.RESET


@pytest.mark.parametrize("how", ["reset", "bad packet"])
def test_a_survivor_that_never_reads_is_reset_after_a_while(rig: Rig, how: str) -> None:
    half = rig.half(buffers=SMALL, timeout=0.5)
    half.plain.reading = False
    half.write(data_of(MEBIBYTE if how == "reset" else STUCK))
    rig.rest()
    if how == "reset":
        half.crypt.reset()
    else:
        half.crypt.write(bytes(PACKET_BYTES))
    rig.until(half.ended)
    assert half.outcome.cause is (Cause.RESET if how == "reset" else Cause.PACKET)
    half.plain.reading = True
    rig.until(lambda: half.plain.ending)
    assert half.plain.ending == RESET
    assert data_of(MEBIBYTE).startswith(half.plain.received)


@pytest.mark.parametrize("length", [STUCK, MEBIBYTE])
def test_a_survivor_that_is_reset_too_ends_it_at_once(rig: Rig, length: int) -> None:
    half = rig.half(buffers=SMALL)
    half.plain.reading = False
    half.write(data_of(length))
    half.crypt.write(bytes(PACKET_BYTES))
    rig.rest()
    if length == STUCK:  # it has all been read, and the bad packet with it
        assert half.crypt.ending == RESET
    else:
        half.crypt.reset()
        rig.rest()
    assert not half.ended()
    half.plain.reset()
    rig.until(half.ended)
    assert half.outcome.cause is (Cause.PACKET if length == STUCK else Cause.RESET)


def test_the_first_failure_is_the_one_that_is_reported(rig: Rig) -> None:
    """Both sides are reset before the plane has looked: one of them is the cause, once."""
    half = served(rig)
    half.plain.reset()
    half.crypt.reset()
    rig.until(half.ended)
    details = ("reset by the client", "reset by the target")
    assert half.outcome.ending in [(Cause.RESET, detail, 0, 1) for detail in details]


# UNIX sockets


@pytest.mark.parametrize("closer", ["client", "target"])
@pytest.mark.parametrize("crypt", ["tcp", "unix"])
def test_a_unix_peer_that_closes_ends_the_connection_without_spinning(
    rig: Rig, crypt: str, closer: str
) -> None:
    """It will neither read nor write again, so there is nothing to wait for."""
    pair = rig.pair("unix", crypt)
    one, other = (pair.client, pair.target)[:: 1 if closer == "client" else -1]
    outcome = pair.C if closer == "client" else pair.S
    one.write(data_of(5000))
    rig.until(lambda: one.idle)
    one.close()
    rig.until(lambda: other.ending and outcome.ending)
    assert other.received == data_of(5000)
    assert outcome.cause is Cause.CLEAN
    assert waste(rig) < 0.5
    other.finish()
    rig.until(pair.ended)


def test_a_unix_peer_that_closes_while_stopped_is_read_to_its_end(rig: Rig) -> None:
    pair = rig.pair("unix", "tcp", buffers=SMALL)
    pair.target.reading = False
    pair.client.write(data_of(MEBIBYTE))
    rig.rest()
    written = pair.client.written
    pair.client.close()
    rig.rest()
    assert waste(rig) < 0.5
    pair.target.reading = True
    rig.until(lambda: pair.target.ending)
    assert pair.target.ending == END
    assert pair.target.received == data_of(MEBIBYTE)[:written]
    pair.target.finish()
    rig.until(pair.ended)


def test_what_a_unix_peer_gave_before_it_left_arrives_before_the_socket_is_closed(
    rig: Rig,
) -> None:
    """Closing earlier would discard it if something has come from the other side meanwhile."""
    half = rig.half(plain="unix", buffers=4096)
    half.crypt.reading = False
    data = bytearray()
    with opposite_end(half.crypt.sock) as planes:
        while not unreceived(planes):  # until something is on its way that the peer has no room for
            piece = bytes([len(data) // 500 % 256]) * 500
            half.plain.write(piece)
            data += piece
            rig.rest()
    half.plain.close()
    rig.rest()
    assert half.outcome.ending is None
    half.crypt.reading = True
    rig.until(half.ended)
    assert half.outcome.cause is Cause.CLEAN
    rig.until(lambda: half.crypt.ending)
    assert half.opened() == data
    assert half.crypt.ending == END


def test_a_unix_peer_that_closes_with_data_unread_is_a_failure(rig: Rig) -> None:
    """The system says so: what was sent to it is lost."""
    half = rig.half(plain="unix")
    half.plain.reading = False
    half.write(b"unread")
    rig.rest()
    half.plain.close()
    rig.until(lambda: half.crypt.ending and half.ended())
    assert half.crypt.ending == RESET
    assert half.outcome.cause is Cause.RESET


def test_a_unix_peer_that_refuses_to_read_is_a_failure(rig: Rig) -> None:
    """What it says is still delivered, and the connection does not wait for more of it."""
    half = rig.half(plain="unix")
    half.plain.reading = False
    half.plain.sock.shutdown(socket.SHUT_RD)
    half.plain.write(data_of(3000))
    rig.rest()
    half.write(b"nobody reads this")
    rig.until(lambda: half.crypt.ending and half.ended())
    assert half.crypt.ending == RESET
    assert half.opened() == data_of(3000)
    assert half.outcome.ending == (Cause.RESET, "reset by the client", 3000, 17)


def test_descriptors_sent_along_do_not_stall_a_flow(rig: Rig) -> None:
    """They end a read early although there is more, and they are dropped."""
    pair = rig.pair("unix", "unix")
    data = data_of(1000)
    for _ in range(20):
        pair.client.sock.sendall(data)
        rights = array.array("i", [pair.target.sock.fileno()])
        socket.send_fds(pair.client.sock, [data], rights.tolist())
        pair.client.sock.sendall(data)
    rig.until(lambda: len(pair.target.received) == 60 * 1000)
    assert pair.target.received == 60 * data
    finish_both(rig, pair)


# Odd sockets


def test_urgent_data_does_not_stall_a_flow(rig: Rig) -> None:
    """A read stops at the mark although there is more; the urgent byte itself is dropped."""
    pair = rig.pair()
    data = data_of(1000)
    for _ in range(20):
        pair.client.sock.sendall(data)
        pair.client.sock.send(b"!", socket.MSG_OOB)
        pair.client.sock.sendall(data)
    rig.until(lambda: pair.client.idle and len(pair.target.received) >= 40 * 1000)
    rig.rest()
    # all but the last mark may have been overtaken by the next: then the byte is an ordinary one
    assert pair.target.received.replace(b"!" + data[:20], data[:20]) == 40 * data
    finish_both(rig, pair)


# Many


def test_abort_all_resets_every_connection(rig: Rig) -> None:
    """The idle, the busy, the stopped, the half-closed and the failing."""
    pairs = [rig.pair(buffers=SMALL) for _ in range(5)]
    halves = [rig.half(buffers=SMALL) for _ in range(70)]
    for pair in pairs[1:3]:
        pair.target.reading = False
        pair.client.write(data_of(MEBIBYTE))
    pairs[3].client.finish()
    for half in halves[:2]:
        half.plain.reading = False
    halves[0].write(data_of(STUCK))
    halves[0].crypt.write(bytes(PACKET_BYTES))
    halves[1].write(data_of(MEBIBYTE))
    rig.rest()
    halves[1].crypt.reset()
    pairs[4].client.write(data_of(MEBIBYTE))
    rig.rest()
    rig.plane.abort_all()
    outcomes = [outcome for pair in pairs for outcome in (pair.C, pair.S)]
    outcomes += [half.outcome for half in halves]
    assert {outcome.ending[:2] for outcome in outcomes if outcome.ending} == {(Cause.SHUTDOWN, "")}
    assert all(outcome.ending for outcome in outcomes)
    rig.peers.remove(halves[1].crypt)
    for peer in rig.peers:
        peer.reading = True
    rig.until(lambda: all(peer.ending for peer in rig.peers))
    assert {peer.ending for peer in rig.peers if peer is not pairs[3].target} == {RESET}


def test_connections_can_be_ended_from_the_report_of_another(rig: Rig) -> None:
    halves = [rig.half() for _ in range(5)]
    halves[0].outcome.when_ended = rig.plane.abort_all
    for half in halves:
        half.plain.reset()
    rig.until(lambda: all(half.ended() for half in halves))


def test_abort_all_may_be_called_from_what_it_calls(rig: Rig) -> None:
    outcomes = [rig.half().outcome for _ in range(5)]
    outcomes += [begin(rig, Role.S).outcome for _ in range(5)]
    for outcome in outcomes:
        outcome.when_ended = rig.plane.abort_all
    rig.plane.abort_all()
    assert {outcome.cause for outcome in outcomes} == {Cause.SHUTDOWN}


def test_two_thousand_connections_at_once(rig: Rig) -> None:
    """A thousand pairs, each with a message of its own in both directions."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 6 * 1000 + 100
    if hard != resource.RLIM_INFINITY and hard < needed:
        pytest.skip(f"only {hard} descriptors are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    try:
        pairs = [rig.pair("unix", "unix") for _ in range(1000)]
        for number, pair in enumerate(pairs):
            pair.client.write(b"to %d" % number)
            pair.target.write(b"from %d" % number)
            pair.client.finish()
            pair.target.finish()
        rig.until(lambda: all(pair.ended() for pair in pairs))
        rig.pump()
        for number, pair in enumerate(pairs):
            assert pair.target.received == b"to %d" % number
            assert pair.client.received == b"from %d" % number
            assert pair.C.cause is pair.S.cause is Cause.CLEAN
    finally:
        for peer in rig.peers:
            peer.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
