"""Sockets: addresses, options, and the event loop."""
