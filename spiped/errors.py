"""Whose fault it was: the operator's, or the peer's.  (Ours are assertions.)"""


class OperatorError(Exception):
    """A mistake in options, files or addresses, or a refusal of the system at start-up.

    Its arguments are the lines to print, outermost last.  Ends the program with status 1.
    """

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(str(line) for line in self.args)


class LookupFailed(OperatorError):
    """A name could not be looked up: perhaps not yet."""


class PeerError(Exception):
    """The peer broke the protocol.  Ends that one connection."""


class HandshakeError(PeerError):
    """The peer's handshake message was refused; the argument says why."""


class PacketError(PeerError):
    """A packet was refused; the argument says why."""


def describe(error: OSError) -> str:
    """What the system says of an error, without the number and the file name."""
    return error.strerror or str(error)
