"""The daemon: its start and end, the supervisor, and the worker processes."""
