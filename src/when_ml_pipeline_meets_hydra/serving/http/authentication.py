"""Who somebody is, by the id and the password that they send."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from when_ml_pipeline_meets_hydra.errors import BadInput
from when_ml_pipeline_meets_hydra.serving.http.metrics import FAILED_LOGINS
from when_ml_pipeline_meets_hydra.serving.http.responses import Refusal
from when_ml_pipeline_meets_hydra.serving.http.users import Account, Users, is_password

log = logging.getLogger(__name__)

REALM = 'Basic realm="models", charset="UTF-8"'
NOBODY = Refusal(401, "an id and a password are needed", {"www-authenticate": REALM})
BUSY = Refusal(503, "too many are logging in", {"retry-after": "1"})
WAITING = 50  # logins that may wait for their turn
REMEMBERED = 1000


class Logins:
    """Checks passwords, and remembers those that were right: hashed under a key of this process, until users change.

    A check takes tens of milliseconds and megabytes on purpose, so there is one at a time, and whoever is wrong too
    often is not listened to for the rest of the minute. What is remembered is not affected.
    """

    def __init__(self, users: Users, failures: int) -> None:
        self._users, self._key = users, os.urandom(32)
        self._stamp = users.stamp()
        self._known: dict[bytes, Account] = {}
        self._rate = RateLimitItemPerMinute(failures)
        self._failures = FixedWindowRateLimiter(MemoryStorage())
        self._checking = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._waiting = 0

    def remembered(self, authorization: bytes) -> Account | None:
        """Who was right with these credentials before. The time that it takes says nothing of any password."""
        stamp = self._users.stamp()
        if stamp != self._stamp or len(self._known) > REMEMBERED:
            self._stamp, self._known = stamp, {}
        return self._known.get(self._digest(authorization))

    async def check(self, authorization: bytes, address: str) -> Account | Refusal:
        """Who somebody at an address is, or what to answer them."""
        if not authorization:
            return NOBODY
        if not self._failures.test(self._rate, address):
            wait = self._failures.get_window_stats(self._rate, address).reset_time - time.time()
            return Refusal(429, "too many wrong passwords", {"retry-after": str(max(1, round(wait)))})
        if self._waiting >= WAITING:
            return BUSY
        self._waiting += 1
        try:
            account = await asyncio.get_running_loop().run_in_executor(self._checking, self._verified, authorization)
        finally:
            self._waiting -= 1
        if account is None:
            FAILED_LOGINS.inc()
            self._failures.hit(self._rate, address)
            return NOBODY
        return account

    def _verified(self, authorization: bytes) -> Account | None:
        known, digest = self._known, self._digest(authorization)  # if users change meanwhile, there will be another
        if digest in known:
            return known[digest]
        if (credentials := _credentials(authorization)) is None:
            return None
        name, password = credentials
        try:
            user = self._users.all().get(name)
        except BadInput as problem:
            log.error("nobody can log in: %s", problem)
            return None
        if not is_password(password, user) or user is None:
            return None
        known[digest] = Account(name, user.role)
        return known[digest]

    def _digest(self, authorization: bytes) -> bytes:
        return hashlib.blake2b(authorization, key=self._key, digest_size=32).digest()


def _credentials(authorization: bytes) -> tuple[str, str] | None:
    kind, _, encoded = authorization.partition(b" ")
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if kind.lower() == b"basic" and colon else None
