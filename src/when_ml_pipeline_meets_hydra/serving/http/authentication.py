"""Authentication of requests by the id and password of HTTP Basic."""

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
from when_ml_pipeline_meets_hydra.serving.http.responses import ErrorResponse
from when_ml_pipeline_meets_hydra.serving.http.users import Account, Users, is_password

log = logging.getLogger(__name__)

REALM = 'Basic realm="models", charset="UTF-8"'
NOT_GIVEN = ErrorResponse(401, "an id and a password are needed", {"www-authenticate": REALM})
UNAUTHORIZED = ErrorResponse(401, "wrong id or password", {"www-authenticate": REALM})
TOO_MANY_LOGINS = ErrorResponse(503, "too many logins at once", {"retry-after": "1"})
MAX_WAITING = 50  # logins in the queue
CACHE_SIZE = 1000


class Logins:
    """Checks passwords, and caches keyed hashes of correct credentials until the users change.

    A check takes tens of milliseconds and megabytes on purpose, so only one runs at a time, and an address with too
    many failures is rejected for the rest of the minute, also where they were sent at once. Cached credentials are not
    affected.
    """

    def __init__(self, users: Users, failures: int) -> None:
        self._users, self._key = users, os.urandom(32)
        self._stamp = users.stamp()
        self._cache: dict[bytes, Account] = {}
        self._rate = RateLimitItemPerMinute(failures)
        self._failures = FixedWindowRateLimiter(MemoryStorage())
        self._checking = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._waiting, self._turn = 0, asyncio.Lock()

    def cached(self, authorization: bytes) -> Account | None:
        """Return the account of these credentials if cached. The time that it takes reveals nothing about passwords."""
        stamp = self._users.stamp()
        if stamp != self._stamp or len(self._cache) > CACHE_SIZE:
            self._stamp, self._cache = stamp, {}
        return self._cache.get(self._digest(authorization))

    async def check(self, authorization: bytes, address: str) -> Account | ErrorResponse:
        """Return the account of these credentials, or the error response."""
        if not authorization:
            return NOT_GIVEN
        if refusal := self._too_many_failures(address):
            return refusal
        if self._waiting >= MAX_WAITING:
            return TOO_MANY_LOGINS
        self._waiting += 1
        try:
            async with self._turn:  # those before this one may have been too many failures
                return self._too_many_failures(address) or await self._check(authorization, address)
        finally:
            self._waiting -= 1

    async def _check(self, authorization: bytes, address: str) -> Account | ErrorResponse:
        account = await asyncio.get_running_loop().run_in_executor(self._checking, self._verified, authorization)
        if account is None:
            FAILED_LOGINS.inc()
            self._failures.hit(self._rate, address)
            return UNAUTHORIZED
        return account

    def _too_many_failures(self, address: str) -> ErrorResponse | None:
        if self._failures.test(self._rate, address):
            return None
        wait = self._failures.get_window_stats(self._rate, address).reset_time - time.time()
        return ErrorResponse(429, "too many wrong passwords", {"retry-after": str(max(1, round(wait)))})

    def _verified(self, authorization: bytes) -> Account | None:
        cache, digest = self._cache, self._digest(authorization)  # replaced if the users change meanwhile
        if digest in cache:
            return cache[digest]
        if (credentials := _credentials(authorization)) is None:
            return None
        name, password = credentials
        try:
            user = self._users.all().get(name)
        except BadInput as problem:
            log.error("logins are not possible: %s", problem)
            return None
        if not is_password(password, user) or user is None:
            return None
        cache[digest] = Account(name, user.role)
        return cache[digest]

    def _digest(self, authorization: bytes) -> bytes:
        return hashlib.blake2b(authorization, key=self._key, digest_size=32).digest()


def _credentials(authorization: bytes) -> tuple[str, str] | None:
    kind, _, encoded = authorization.partition(b" ")
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if kind.lower() == b"basic" and colon else None
