"""Masking of secrets in everything that leaves the process."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Any

MASK = "**********"

_NAME = re.compile(
    r"(.*[_-])?(pw|pwd|pass|passwd|password|passphrase|secret|token|api_?key|access_?key|secret_?key|private_?key)",
    re.IGNORECASE,
)
_IN_URL = re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)")  # id and password before the host
# ``pw: value`` in the value of an override; possessive, so that a name is matched once, from its beginning.
_INSIDE = re.compile(
    r"""(?<![\w.-])([\w.-]++)(\s*+:\s*)((?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\$\{[^{}]*\}|[^,{}\[\]'"])+)"""
)
_LONG = 8  # characters; a shorter secret is only replaced as a whole word


def is_secret_name(key: str) -> bool:
    """Return whether a config key is secret by its name, whatever its type (``cluster.pw``, ``api_key``)."""
    return _NAME.fullmatch(key.rpartition(".")[2]) is not None


@lru_cache(maxsize=1024)
def _fingerprint(secret: str) -> str:
    # Short and slow to compute, against guessing.
    return hashlib.scrypt(secret.encode(), salt=b"when_ml_pipeline_meets_hydra", n=2**11, r=8, p=1).hex()[:4]


def secret_values(node: Any, keys: Collection[str], key: str = "") -> Iterator[str]:
    """Yield the values of a plain config at the secret ``keys`` and at keys with a secret name."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from secret_values(value, keys, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            yield from secret_values(value, keys, key)
    elif node not in (None, "???", "") and (is_secret_name(key) or any(_overlaps(key, secret) for secret in keys)):
        yield str(node)


def _overlaps(key: str, secret: str) -> bool:
    """Return whether ``key`` is secret, contains a secret key, or lies below one."""
    return key == secret or key.startswith(f"{secret}.") or secret.startswith(f"{key}.")


class Redactor:
    """Masks secret values wherever they occur."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._patterns: list[re.Pattern[str]] = []
        for value in sorted({v for v in values if v and v != MASK}, key=len, reverse=True):
            text = re.escape(value)
            self._patterns.append(re.compile(text if len(value) >= _LONG else rf"(?<![^\W_]){text}(?![^\W_])"))

    def text(self, text: str) -> str:
        """Return ``text`` with secret values, and ids and passwords in URLs, masked."""
        text = _IN_URL.sub(MASK, text)
        for pattern in self._patterns:
            text = pattern.sub(MASK, text)
        return text

    def with_fingerprints(self, node: Any) -> Any:
        """Return a copy of plain values with each secret replaced by a short digest.

        The stored inputs of a step then do not reveal a secret that is part of another value, and still differ where
        the secret differs.
        """
        if isinstance(node, dict):
            return {k: self.with_fingerprints(v) for k, v in node.items()}
        if isinstance(node, list | tuple):
            return [self.with_fingerprints(v) for v in node]
        if isinstance(node, str):
            for pattern in self._patterns:
                node = pattern.sub(lambda m: f"<secret {_fingerprint(m[0])}>", node)
        return node

    def tree(self, node: Any, secret: Collection[str] = (), key: str = "") -> Any:
        """Return a copy of a plain config with the keys in ``secret``, secret names and secret values masked."""
        if isinstance(node, dict):
            return {k: self.tree(v, secret, f"{key}.{k}" if key else str(k)) for k, v in node.items()}
        if isinstance(node, list | tuple):
            return [self.tree(v, secret, key) for v in node]
        if node is not None and node != "???" and (key in secret or is_secret_name(key)):
            return MASK
        return self.text(node) if isinstance(node, str) else node

    def override(self, line: str, secret: Collection[str] = ()) -> str:
        """Return an override with its secrets masked: ``cluster.pw=**********``."""
        key, equals, value = line.partition("=")
        name = key.lstrip("+~")
        if equals and value and value != "???" and (name in secret or is_secret_name(name)):
            return f"{key}={MASK}"

        def masked(inside: re.Match[str]) -> str:
            inner = any(s.startswith(f"{name}.") and s.endswith(f".{inside[1]}") for s in secret)
            return f"{inside[1]}{inside[2]}{MASK}" if inner or is_secret_name(inside[1]) else inside[0]

        return self.text(f"{key}{equals}{_INSIDE.sub(masked, value)}")


class Unmasked(Redactor):
    """Masks nothing (``show_secrets=true``)."""

    def text(self, text: str) -> str:
        """Return the text unchanged."""
        return text

    def override(self, line: str, secret: Collection[str] = ()) -> str:
        """Return the override unchanged."""
        return line
