"""The protocol as pure machines: bytes in, bytes out; no sockets, no clock, no randomness."""
