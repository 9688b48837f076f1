"""spiped: encrypted, authenticated pipes between socket addresses, with one pre-shared key."""

__version__ = "1.0.0"
