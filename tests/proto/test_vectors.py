"""Every value of `vectors.json`, by both back ends."""

from __future__ import annotations

import pytest

from spiped.crypto import Backend
from spiped.crypto.group14 import EXPONENT_BASE, P
from spiped.crypto.sizes import PACKET_BYTES
from spiped.errors import HandshakeError
from spiped.proto.derivation import handshake_keys
from spiped.proto.handshake import Handshake, Role, Secrets
from spiped.proto.packets import Opener, Sealer
from tests.helpers import VECTORS, unhex
from tests.proto.conftest import Maker

K = unhex(VECTORS["K"])
NONCE_C, NONCE_S = unhex(VECTORS["nonce_C"]), unhex(VECTORS["nonce_S"])
CASES = {case["name"]: case for case in VECTORS["cases"]}
REJECTION = VECTORS["rejection"]


def secrets(case: dict, role: Role) -> Secrets:
    x = case["x_" + role.value]
    nonce = NONCE_C if role is Role.C else NONCE_S
    return Secrets(nonce, None if x is None else bytearray(unhex(x)))


def machine(maker: Maker, case: dict, role: Role, require_pfs: bool = False) -> Handshake:
    return maker.make(maker.crypto, role, K, secrets(case, role), require_pfs=require_pfs)


def test_the_key_is_the_hash_of_the_key_file(crypto: Backend) -> None:
    assert crypto.sha256(unhex(VECTORS["keyfile"])) == K
    assert crypto.sha256(b"") == unhex(VECTORS["K_dev_null"])


def test_the_group_is_that_of_the_vectors() -> None:
    assert int(VECTORS["group14_p"], 16) == P
    assert VECTORS["exponent"].startswith("2^258 + x")
    assert EXPONENT_BASE == 2**258


def test_dhmac_keys(crypto: Backend) -> None:
    keys = handshake_keys(crypto, K, NONCE_C, NONCE_S)
    assert keys.dhmac_C == unhex(VECTORS["dhmac_C"])
    assert keys.dhmac_S == unhex(VECTORS["dhmac_S"])


@pytest.mark.parametrize("name", CASES)
def test_the_handshake_sends_and_derives_what_the_vectors_say(maker: Maker, name: str) -> None:
    case = CASES[name]
    C, S = machine(maker, case, Role.C), machine(maker, case, Role.S)
    assert C.data_to_send() == NONCE_C
    assert S.data_to_send() == NONCE_S
    C.receive(NONCE_S)
    S.receive(NONCE_C)
    C.compute()
    hello_C = C.data_to_send()
    assert hello_C == unhex(case["y_C"]) + unhex(case["h_C"])
    assert S.data_to_send() == b"", "the server answers only a peer that holds the key"
    S.receive(hello_C)
    S.compute()
    hello_S = S.data_to_send()
    assert hello_S == unhex(case["y_S"]) + unhex(case["h_S"])
    C.receive(hello_S)
    C.compute()
    S.compute()
    expected = [unhex(case[key]) for key in ("E_C", "H_C", "E_S", "H_S")]
    assert list(C.take_keys()) == expected
    assert list(S.take_keys()) == expected


@pytest.mark.parametrize("name", CASES)
def test_y_sc(crypto: Backend, name: str) -> None:
    case = CASES[name]
    y_SC = unhex(case["y_SC"])
    for x, y in ((case["x_C"], case["y_S"]), (case["x_S"], case["y_C"])):
        if x is not None:
            assert crypto.power(unhex(y), unhex(x)) == y_SC


@pytest.mark.parametrize("name", CASES)
def test_packets(crypto: Backend, name: str) -> None:
    case = CASES[name]
    for packet in case["packets"]:
        sender = packet["direction"][0]
        keys = unhex(case["E_" + sender]), unhex(case["H_" + sender])
        message = unhex(VECTORS["messages"][str(packet["length"])])
        sealed = unhex(packet["packet"])
        sealer, opener = Sealer(crypto, *keys), Opener(crypto, *keys)
        sealer.number = opener.number = packet["number"]
        assert sealer.seal(message) == sealed
        assert opener.open(sealed) == message
        assert opener.fault is None
        assert not opener.inside_packet


def verdict(maker: Maker, message: bytes, require_pfs: bool) -> str:
    S = machine(maker, CASES["both-pfs"], Role.S, require_pfs)
    S.receive(NONCE_C)
    try:
        S.receive(message)
    except HandshakeError:
        return "reject"
    return "accept"


@pytest.mark.parametrize("name", [name for name in REJECTION if name.startswith("handshake")])
def test_handshake_messages_get_upstreams_verdict(maker: Maker, name: str) -> None:
    message = unhex(REJECTION[name]["yh"])
    expected = {
        "reject always": ("reject", "reject"),
        "accept": ("accept", "accept"),
        "reject under -g only": ("accept", "reject"),
    }[REJECTION[name]["upstream"]]
    assert (verdict(maker, message, False), verdict(maker, message, True)) == expected


@pytest.mark.parametrize("name", [name for name in REJECTION if not name.startswith("handshake")])
def test_packets_get_upstreams_verdict(crypto: Backend, name: str) -> None:
    case = CASES["both-pfs"]
    opener = Opener(crypto, unhex(case["E_C"]), unhex(case["H_C"]))
    plaintext = opener.open(unhex(REJECTION[name]))
    if name.endswith("must_drop"):
        assert plaintext == b""
        assert opener.fault is not None
    else:
        assert name.endswith("upstream_ACCEPTS")
        assert plaintext == unhex(VECTORS["messages"]["1"])
        assert opener.fault is None


def test_every_entry_of_the_vectors_is_used() -> None:
    packets = [packet for case in VECTORS["cases"] for packet in case["packets"]]
    assert len(packets) >= 12
    assert all(len(unhex(packet["packet"])) == PACKET_BYTES for packet in packets)
    assert len(REJECTION) == 11
