"""Sockets: addresses, the event loop, connections and the data plane."""
