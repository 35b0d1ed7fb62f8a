"""Frozen dataclasses for the modules that every command loads.

The standard module takes as long to load as a third of a cached run, and to make a class another millisecond, since it
compiles each method from text. Type checkers see the standard ``dataclass`` and ``field``, and so do ``replace``,
``fields`` and all other readers of ``__dataclass_fields__``, which is made on first use.
"""
# ruff: noqa: ANN001, ANN201, ANN202, N807 - type checkers read the standard module instead

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
else:
    _MISSING = object()

    class _Field:
        def __init__(self, default: Any, factory: Any, compare: bool, repr: bool) -> None:
            self.default, self.factory, self.compare, self.repr = default, factory, compare, repr

        def value(self, name: str, kind: type) -> Any:
            """The default."""
            if self.factory is not _MISSING:
                return self.factory()
            if self.default is _MISSING:
                raise TypeError(f"{kind.__name__}() needs a value for '{name}'")
            return self.default

    def field(*, default=_MISSING, default_factory=_MISSING, compare=True, repr=True):
        """As ``dataclasses.field``."""
        return _Field(default, default_factory, compare, repr)

    def dataclass(*, frozen: bool, kw_only: bool = False, eq: bool = True):
        """As ``dataclasses.dataclass``, for frozen classes without inherited fields."""
        assert frozen

        def made(kind: type) -> type:
            fields = {}
            for name, hint in kind.__annotations__.items():
                if not hint.startswith("ClassVar"):
                    given = kind.__dict__.get(name, _MISSING)
                    fields[name] = given if isinstance(given, _Field) else _Field(given, _MISSING, True, True)
                    if given is fields[name]:
                        delattr(kind, name)
                        if given.default is not _MISSING:
                            setattr(kind, name, given.default)
            kind.__init__ = _init_for(fields, 0 if kw_only else len(fields))
            methods = {"__repr__": _repr, "__setattr__": _refuse, "__delattr__": _refuse}
            if eq:
                methods |= {"__eq__": _eq, "__hash__": _hash}
            for name, method in methods.items():
                if name not in kind.__dict__ or kind.__dict__[name] is None:
                    setattr(kind, name, method)
            kind._quick_fields = fields
            options = {"frozen": frozen, "kw_only": kw_only, "eq": eq}
            for name in ("__dataclass_fields__", "__dataclass_params__", "__signature__"):
                setattr(kind, name, _Standard(name, options))
            return kind

        return made

    def _init_for(fields: dict[str, _Field], positional: int):
        names = tuple(fields)

        def __init__(self, *args: Any, **values: Any) -> None:
            if len(args) > positional:
                raise TypeError(f"{type(self).__name__}() takes {positional} positional arguments, not {len(args)}")
            given = dict(zip(names, args)) | values if args else values  # noqa: B905 - there may be fewer
            if unknown := given.keys() - fields.keys():
                raise TypeError(f"{type(self).__name__}() has no field {', '.join(sorted(unknown))}")
            state = self.__dict__
            for name, known in fields.items():
                state[name] = given[name] if name in given else known.value(name, type(self))

        return __init__

    def _compared(value: Any) -> tuple[Any, ...]:
        return tuple(getattr(value, name) for name, known in value._quick_fields.items() if known.compare)

    def _eq(self, other: object) -> bool:
        return _compared(self) == _compared(other) if other.__class__ is self.__class__ else NotImplemented

    def _hash(self) -> int:
        return hash(_compared(self))

    def _repr(self) -> str:
        shown = (f"{name}={getattr(self, name)!r}" for name, known in self._quick_fields.items() if known.repr)
        return f"{type(self).__qualname__}({', '.join(shown)})"

    def _refuse(self, name: str, *_: Any) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field '{name}'")

    class _Standard:
        """An attribute of the standard dataclass, made on first access."""

        def __init__(self, name: str, options: dict[str, bool]) -> None:
            self.name, self.options = name, options

        def __get__(self, instance: Any, kind: type) -> Any:
            import dataclasses
            import inspect

            content = {"__annotations__": kind.__annotations__, "__module__": kind.__module__}
            for name, known in kind._quick_fields.items():
                given = {} if known.default is _MISSING else {"default": known.default}
                given |= {} if known.factory is _MISSING else {"default_factory": known.factory}
                content[name] = dataclasses.field(**given, compare=known.compare, repr=known.repr)
            standard = dataclasses.dataclass(**self.options)(type(kind.__name__, (), content))
            kind.__signature__ = inspect.signature(standard)
            kind.__dataclass_fields__ = standard.__dataclass_fields__
            kind.__dataclass_params__ = standard.__dataclass_params__
            return getattr(kind, self.name)
