"""The little that is needed of `typing` and `contextlib`, without importing them.

Their import would take a fifth of the time that `spipe` needs to deliver its first byte.  Type
checkers see the real ones.
"""

from __future__ import annotations

TYPE_CHECKING = False

if TYPE_CHECKING:
    from contextlib import suppress as suppress
    from typing import Any as Any
    from typing import NamedTuple as NamedTuple
    from typing import NamedTuple as Record
    from typing import NoReturn as NoReturn
    from typing import Protocol as Protocol
    from typing import cast as cast

    __all__ = ["Record"]
else:
    from collections import namedtuple

    Any = NoReturn = Protocol = object

    def cast(kind, value):
        return value

    class suppress:  # noqa: N801
        def __init__(self, *exceptions):
            self._exceptions = exceptions

        def __enter__(self):
            pass

        def __exit__(self, kind, value, traceback):
            return kind is not None and issubclass(kind, self._exceptions)

    class _NamedTupleType(type):
        """Makes a named tuple of a class whose annotations name the fields."""

        def __new__(mcs, name, bases, namespace):
            if not bases:
                return super().__new__(mcs, name, bases, namespace)
            fields = list(namespace.pop("__annotations__", ()))
            defaults = [namespace.pop(field) for field in fields if field in namespace]
            base = namedtuple(name, fields, defaults=defaults, module=namespace["__module__"])
            return type(name, (base,), {"__slots__": (), **namespace})

    class NamedTuple(metaclass=_NamedTupleType):
        pass

    class Record:
        """As much of a named tuple as can be made in no time: there are many kinds of records."""

        def __init_subclass__(cls):
            cls._fields = tuple(cls.__annotations__)

        def __init__(self, *values, **named):
            self.__dict__ = dict(zip(self._fields, values, strict=False)) | named

        def _asdict(self):
            return self.__dict__
