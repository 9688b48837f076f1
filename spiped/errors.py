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


def as_operator_error(error: Exception) -> OperatorError:
    """A refusal of the system, in words: which one it was cannot be told any more."""
    if isinstance(error, OperatorError):
        return error
    if isinstance(error, OSError):
        return OperatorError(f"The system refuses what is needed: {describe(error)}")
    return OperatorError("There is not enough memory")


def describe(error: OSError) -> str:
    """What the system says of an error, without the number and the file name."""
    return error.strerror or str(error)
