"""The protocol: bytes in, bytes out; no sockets, no clock, no randomness of its own."""
