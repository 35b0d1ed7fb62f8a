"""Sessions of signed-in people, in the memory of the server: a restart signs everybody out."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from dataclasses import dataclass, field
from threading import Lock

from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.serving.http.users import Role, User, Users

LONGEST_SECONDS = 12 * 3600
IDLE_SECONDS = 2 * 3600
MOST = 10_000


@dataclass(kw_only=True, eq=False)
class Session:
    """A signed-in person; ``notices`` are shown on their next page."""

    name: str
    role: Role
    user: User
    stamp: tuple[int, int] | None
    started: float = field(default_factory=time.monotonic)
    used: float = field(default_factory=time.monotonic)
    notices: list[str] = field(default_factory=list)

    @property
    def has_expired(self) -> bool:
        """Whether it is too old, or was not used for too long."""
        now = time.monotonic()
        return now - self.started > LONGEST_SECONDS or now - self.used > IDLE_SECONDS


class Sessions:
    """The sessions by their random ids, which only cookies have; each ends when its user is changed or removed."""

    def __init__(self, users: Users) -> None:
        self._users, self._key = users, os.urandom(32)
        self._sessions: dict[bytes, Session] = {}
        self._lock = Lock()

    def start(self, name: str) -> str:
        """Start a session of a user whose password was right; returns its id, which nobody had before.

        Raises:
            BadInput: the users cannot be read, or the user was removed meanwhile.
        """
        stamp = self._users.stamp()
        user = self._users.all()[name]
        identity = new_id()
        with self._lock:
            for old in [key for key, session in self._sessions.items() if session.has_expired]:
                del self._sessions[old]
            while len(self._sessions) >= MOST:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[self._digest(identity)] = Session(name=name, role=user.role, user=user, stamp=stamp)
        return identity

    def find(self, identity: str) -> Session | None:
        """Return the session with this id, unless it has ended."""
        session = self._sessions.get(self._digest(identity))
        if session is None:
            return None
        if session.has_expired or not self._is_same_user(session):
            self.end(identity)
            return None
        session.used = time.monotonic()
        return session

    def end(self, identity: str) -> None:
        """End a session, if there is one."""
        with self._lock:
            self._sessions.pop(self._digest(identity), None)

    def token(self, identity: str) -> str:
        """Return the token that each change sent with this id has to carry; other sites cannot know it."""
        return hmac.new(self._key, identity.encode(), hashlib.sha256).hexdigest()

    def is_token(self, identity: str, token: str) -> bool:
        """Check the token of a change."""
        return bool(identity) and hmac.compare_digest(self.token(identity).encode(), token.encode())

    def _is_same_user(self, session: Session) -> bool:
        stamp = self._users.stamp()
        if stamp != session.stamp:
            try:
                is_same = self._users.all().get(session.name) == session.user
            except BadInput:
                return False
            if not is_same:
                return False
            session.stamp = stamp
        return True

    def _digest(self, identity: str) -> bytes:
        return hashlib.blake2b(identity.encode(), key=self._key, digest_size=32).digest()


def new_id() -> str:
    """Return an id that cannot be guessed."""
    return secrets.token_urlsafe(32)
