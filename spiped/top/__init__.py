"""What `spiped-top` shows of a running daemon: asked for, compared, and laid out.

Only `screen`, `display` and what `command/top.py` imports late need the library for terminals.
"""
