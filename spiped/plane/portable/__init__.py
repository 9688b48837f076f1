"""The data plane on the reactor, for systems without epoll or without the extension.

Its files have the names of those of the data plane in C (`_native/plane/`), and do the same.
"""
