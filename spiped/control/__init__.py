"""The control socket: what a running daemon is asked and told to do, from both of its ends.

    socket -> server -> commands -> the supervisor, as `Daemon` has it

`client` and `display` are `spipedctl`'s.  docs/control.md promises the names.
"""
