"""Fixtures for tests of the control socket."""

from __future__ import annotations

from tests.process.conftest import public_place

__all__ = ["public_place"]
