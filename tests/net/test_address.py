"""Addresses in every form in which an operator may write them, and what is said of bad ones."""

from __future__ import annotations

import os
import socket

import pytest

from spiped.errors import LookupFailed, OperatorError
from spiped.net.address import SocketAddress, is_literal, resolve

INET, INET6, UNIX = socket.AF_INET, socket.AF_INET6, socket.AF_UNIX


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/tmp/socket", SocketAddress(UNIX, "/tmp/socket")),
        ("/tmp/a:b[c]", SocketAddress(UNIX, "/tmp/a:b[c]")),
        ("/" + 106 * "x", SocketAddress(UNIX, "/" + 106 * "x")),
        ("[127.0.0.1]:80", SocketAddress(INET, ("127.0.0.1", 80))),
        ("[0.0.0.0]:1", SocketAddress(INET, ("0.0.0.0", 1))),
        ("[::1]:65535", SocketAddress(INET6, ("::1", 65535, 0, 0))),
        ("[::]:8080", SocketAddress(INET6, ("::", 8080, 0, 0))),
        ("[2001:db8::1]:22", SocketAddress(INET6, ("2001:db8::1", 22, 0, 0))),
        ("[::ffff:192.0.2.1]:22", SocketAddress(INET6, ("::ffff:192.0.2.1", 22, 0, 0))),
        ("[127.0.0.1]:00080", SocketAddress(INET, ("127.0.0.1", 80))),
        ("[127.0.0.1]: 80", SocketAddress(INET, ("127.0.0.1", 80))),
        ("[127.0.0.1]:+80", SocketAddress(INET, ("127.0.0.1", 80))),
        ("127.0.0.1:80", SocketAddress(INET, ("127.0.0.1", 80))),
        ("0.0.0.0:80", SocketAddress(INET, ("0.0.0.0", 80))),
        ("127.0.0.1:0", SocketAddress(INET, ("127.0.0.1", 0))),
        ("127.0.0.1:65535", SocketAddress(INET, ("127.0.0.1", 65535))),
        ("127.0.0.1:", SocketAddress(INET, ("127.0.0.1", 0))),
    ],
)
def test_an_address_stands_for(text: str, expected: SocketAddress) -> None:
    assert resolve(text) == [expected]


def test_a_host_is_what_stands_before_the_last_colon() -> None:
    assert SocketAddress(INET6, ("::1", 80, 0, 0)) in resolve("::1:80")


def test_a_name_is_looked_up() -> None:
    found = resolve("localhost:80")
    assert found
    assert {address.sockaddr[0] for address in found} <= {"127.0.0.1", "::1"}
    assert {address.sockaddr[1] for address in found} == {80}
    assert {address.family for address in found} <= {INET, INET6}


def test_a_service_may_have_a_name() -> None:
    try:
        port = socket.getservbyname("ssh", "tcp")
    except OSError:
        pytest.skip("this system does not know the service ssh")
    assert resolve("127.0.0.1:ssh") == [SocketAddress(INET, ("127.0.0.1", port))]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("/" + 107 * "x", "socket path too long: /" + 107 * "x"),
        ("/" + 54 * "é", "socket path too long: /" + 54 * "é"),  # 109 bytes
        ("[127.0.0.1", "Invalid [IP address]: [127.0.0.1"),
        ("[127.0.0.1]", "Address must contain port number: [127.0.0.1]"),
        ("[127.0.0.1]80", "Address must contain port number: [127.0.0.1]80"),
        ("[127.1]:80", "Error parsing IP address: 127.1"),
        ("[localhost]:80", "Error parsing IP address: localhost"),
        ("[]:80", "Error parsing IP address: "),
        ("[::g]:80", "Error parsing IP address: ::g"),
        ("[fe80::1%lo]:80", "Error parsing IP address: fe80::1%lo"),
        ("[127.0.0.1\0]:80", "Error parsing IP address: 127.0.0.1\0"),
        ("[1.2.3.é]:80", "Error parsing IP address: 1.2.3.é"),
        ("[127.0.0.1]:", "Invalid port number: "),
        ("[127.0.0.1]:0", "Invalid port number: 0"),
        ("[127.0.0.1]:65536", "Invalid port number: 65536"),
        ("[127.0.0.1]:-1", "Invalid port number: -1"),
        ("[127.0.0.1]:0x50", "Invalid port number: 0x50"),
        ("[127.0.0.1]:80x", "Invalid port number: 80x"),
        ("[127.0.0.1]:80 ", "Invalid port number: 80 "),
        ("[127.0.0.1]:http", "Invalid port number: http"),
        ("[127.0.0.1]:٨٠", "Invalid port number: ٨٠"),  # digits, but not ASCII's
        ("[127.0.0.1]:" + 5000 * "9", "Invalid port number: " + 5000 * "9"),
        ("localhost", "Address must contain port number: localhost"),
        ("localhost:65536", "Invalid port number: 65536"),
        ("127.0.0.1:99999", "Invalid port number: 99999"),
        ("127.0.0.1:" + 5000 * "9", "Invalid port number: " + 5000 * "9"),
    ],
)
def test_a_bad_address_is_refused_with_the_reason(text: str, line: str) -> None:
    with pytest.raises(OperatorError) as caught:
        resolve(text)
    assert caught.value.lines == (line, f"Error resolving socket address: {text}")
    assert not isinstance(caught.value, LookupFailed), "no time will mend it"


@pytest.mark.parametrize("text", ["no.such.host.invalid:80", "127.0.0.1:no-such-service", "\0:80"])
def test_a_lookup_that_fails_says_so(text: str) -> None:
    with pytest.raises(LookupFailed) as caught:
        resolve(text)
    first, last = caught.value.lines
    assert first.startswith(f"Error looking up {text.rpartition(':')[0]}: ")
    assert last == f"Error resolving socket address: {text}"


def test_bytes_that_are_no_text_pass_through() -> None:
    text = os.fsdecode(b"/tmp/\xff\xfe")
    assert resolve(text) == [SocketAddress(UNIX, text)]
    with pytest.raises(LookupFailed):
        resolve(os.fsdecode(b"\xff\xfe.invalid:80"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", SocketAddress(INET, ("127.0.0.1", 0))),
        ("[127.0.0.1]", SocketAddress(INET, ("127.0.0.1", 0))),
        ("[::1]", SocketAddress(INET6, ("::1", 0, 0, 0))),
        ("[127.0.0.1]:0", SocketAddress(INET, ("127.0.0.1", 0))),
        ("[127.0.0.1]:1234", SocketAddress(INET, ("127.0.0.1", 1234))),
        ("127.0.0.1:1234", SocketAddress(INET, ("127.0.0.1", 1234))),
        ("/tmp/socket", SocketAddress(UNIX, "/tmp/socket")),
    ],
)
def test_a_port_may_be_left_out_where_any_will_do(text: str, expected: SocketAddress) -> None:
    assert resolve(text, port_optional=True) == [expected]


@pytest.mark.parametrize("text", ["[127.0.0.1]x", "[127.0.0.1]:x", "[127.0.0.1]:65536", "[::1"])
def test_but_what_is_there_must_be_right(text: str) -> None:
    with pytest.raises(OperatorError):
        resolve(text, port_optional=True)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("/tmp/socket", "/tmp/socket"),
        ("127.0.0.1:80", "[127.0.0.1]:80"),
        ("[::1]:80", "[::1]:80"),
    ],
)
def test_an_address_is_written_as_it_may_be_read(text: str, written: str) -> None:
    assert str(resolve(text)[0]) == written
    assert resolve(written) == resolve(text)


def test_only_names_have_to_be_looked_up_again() -> None:
    assert is_literal("/tmp/socket")
    assert is_literal("[::1]:80")
    assert not is_literal("localhost:80")
