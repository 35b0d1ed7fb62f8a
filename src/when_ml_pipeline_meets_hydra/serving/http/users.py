"""Users of a model server: ``users.json`` in its repository, with hashed passwords and roles."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from pydantic import AfterValidator, TypeAdapter, ValidationError

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.serving.formats.versions import USERS
from when_ml_pipeline_meets_hydra.storage import durable_files
from when_ml_pipeline_meets_hydra.storage.locks import hold

if TYPE_CHECKING:
    from argon2 import PasswordHasher

LOCK_SECONDS = 30
SHORTEST_PASSWORD = 8


class Role(StrEnum):
    """Permissions over HTTP; each role includes those before it."""

    PREDICT = "predict"
    DEPLOY = "deploy"
    ADMIN = "admin"

    def may(self, needed: Role) -> bool:
        """Whether this role includes the one that is needed."""
        roles = list(Role)
        return roles.index(self) >= roles.index(needed)


class Account(NamedTuple):
    """An authenticated user."""

    name: str
    role: Role


def user_name(name: str) -> str:
    """Validate the name of a user.

    Raises:
        ValueError: it is not valid; HTTP Basic authentication ends the name at the first colon.
    """
    if not name or ":" in name or not name.isprintable() or len(name) > 100:
        raise ValueError("an id must not be empty or hold a colon, and have at most 100 printable characters")
    return name


@frozen
class User:
    """A line of ``users.json``: the role, and the argon2 hash of the password."""

    role: Role
    hash: str


_users = TypeAdapter(Mapping[Annotated[str, AfterValidator(user_name)], User])


class Users:
    """The users of the repository in ``root``; ``sole`` is the only one if there is no ``users.json``."""

    def __init__(self, root: Path, sole: Mapping[str, User] | None = None) -> None:
        self._file, self._sole = root / USERS, sole or {}
        self._path = str(self._file)

    def stamp(self) -> tuple[int, int] | None:
        """Return a value that changes whenever the users do; costs one call of ``stat``."""
        return durable_files.stamp(self._path)

    def all(self) -> Mapping[str, User]:
        """Return all users by name.

        Raises:
            BadInput: the file is damaged.
        """
        try:
            return _users.validate_json(self._file.read_bytes())
        except FileNotFoundError:
            return self._sole
        except ValidationError as problem:
            # Pydantic's own message would show the hashes.
            first = problem.errors(include_url=False, include_input=False)[0]
            message = f"{'.'.join(map(str, first['loc'])) or 'content'}: {first['msg']}"
            remedy = "Restore it, or remove it and add the users again: cluster user add"
            raise BadInput(Problem(key=str(self._file), message=message, remedy=remedy)) from None

    def add(self, name: str, role: Role, password: str, *, replace: bool = False) -> None:
        """Add a user, or replace one.

        Raises:
            BadInput: the name or the password is not valid, or the user exists and ``replace`` is False.
        """
        try:
            user_name(name)
        except ValueError as wrong:
            raise BadInput(Problem(key="NAME", value=name, message=str(wrong))) from None
        if len(password) < SHORTEST_PASSWORD:
            raise BadInput(Problem(key="password", message=f"needs at least {SHORTEST_PASSWORD} characters"))
        with self._changing() as users:
            if name in users and not replace:
                remedy = "Give another name, or --replace to change the user's password and role"
                raise BadInput(Problem(key="NAME", value=name, message="there is such a user already", remedy=remedy))
            users[name] = new_user(role, password)

    def remove(self, name: str) -> None:
        """Remove a user.

        Raises:
            BadInput: there is no such user.
        """
        with self._changing() as users:
            if name not in users:
                remedy = did_you_mean(name, users)
                raise BadInput(Problem(key="NAME", value=name, message="there is no such user", remedy=remedy))
            del users[name]

    @contextmanager
    def _changing(self) -> Iterator[dict[str, User]]:
        """Yield all users for changes; writes them unless the block raises."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with hold(self._file.with_name(f".{USERS}.lock"), patience=LOCK_SECONDS):
            users = dict(self.all()) if self._file.exists() else {}
            yield users
            before = os.umask(0o077)
            try:
                durable_files.write(self._file, _users.dump_json(users, indent=2) + b"\n")
            finally:
                os.umask(before)


def new_user(role: Role, password: str) -> User:
    """Return a user with the hash of a password; hashing takes about 50 ms, as does each check."""
    return User(role=role, hash=_hasher().hash(password))


def is_password(password: str, user: User | None) -> bool:
    """Check a user's password. For an unknown user it takes as long, so that names cannot be probed."""
    from argon2.exceptions import Argon2Error, InvalidHashError

    try:
        return _hasher().verify(user.hash if user else _dummy_hash(), password) and user is not None
    except (Argon2Error, InvalidHashError):
        return False


@cache
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher()


@cache
def _dummy_hash() -> str:
    return _hasher().hash(os.urandom(16))
