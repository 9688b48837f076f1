"""Faults of system calls, injected into workers: see run.py."""
