"""The handshake machines: the one in Python, and the one in C behind the same interface."""

from __future__ import annotations

from typing import Any

from spiped.crypto import Backend, Buffer
from spiped.crypto.sizes import SECRET_BYTES
from spiped.errors import Fault, HandshakeError
from spiped.proto.derivation import SessionKeys
from spiped.proto.handshake import Handshake, Role, Secrets
from spiped.proto.terms import Heard


class NativeHandshake:
    """`_native/protocol/handshake.h`, used as `proto.handshake.Handshake` is."""

    def __init__(
        self, crypto: Backend, role: Role, K: Buffer, secrets: Secrets, *, require_pfs: bool
    ) -> None:
        from spiped._native import ffi, lib

        self._ffi, self._lib = ffi, lib
        self._machine: Any = ffi.new("struct handshake *")
        assert secrets.x is None or len(secrets.x) == SECRET_BYTES
        x = ffi.NULL if secrets.x is None else ffi.from_buffer("uint8_t[]", secrets.x)
        lib.handshake_init(
            self._machine,
            lib.ROLE_C if role is Role.C else lib.ROLE_S,
            ffi.from_buffer("uint8_t[]", K),
            ffi.from_buffer("uint8_t[]", secrets.nonce),
            x,
            require_pfs,
        )

    @property
    def wanted(self) -> int:
        return int(self._lib.handshake_wanted(self._machine))

    @property
    def computing(self) -> bool:
        return bool(self._lib.handshake_is_computing(self._machine))

    @property
    def peer_is_authentic(self) -> bool:
        return bool(self._lib.handshake_peer_is_authentic(self._machine))

    @property
    def heard(self) -> Heard:
        return Heard(self._lib.handshake_heard(self._machine))

    @property
    def done(self) -> bool:
        return not self.computing and not self.wanted

    def data_to_send(self) -> bytes:
        data = bytes(self._ffi.buffer(self._machine.out, self._machine.out_length))
        self._machine.out_length = 0
        return data

    def receive(self, data: Buffer) -> None:
        assert 0 < len(data) <= self.wanted
        view = self._ffi.from_buffer("uint8_t[]", data)
        status = self._lib.handshake_receive(self._machine, view, len(data))
        if status != self._lib.HANDSHAKE_OK:
            raise HandshakeError(
                {
                    self._lib.HANDSHAKE_NO_KEY: Fault.NO_KEY,
                    self._lib.HANDSHAKE_OUT_OF_RANGE: Fault.OUT_OF_RANGE,
                    self._lib.HANDSHAKE_NO_PFS: Fault.NO_PFS,
                    self._lib.HANDSHAKE_SAME_ROLE: Fault.SAME_ROLE,
                }[status]
            )

    def compute(self) -> None:
        self._lib.handshake_compute(self._machine)

    def take_keys(self) -> SessionKeys:
        assert self.done
        keys = [bytearray(self._ffi.buffer(self._machine.keys[i], 32)) for i in range(4)]
        self._lib.handshake_wipe(self._machine)
        return SessionKeys(*keys)

    def memory(self) -> bytes:
        """Everything that the machine holds."""
        return bytes(self._ffi.buffer(self._machine))


Machine = type[Handshake] | type[NativeHandshake]
