"""Masking: what is secret never leaves the process in readable form."""

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
# ``pw: value`` in the value of an override; a name is looked at once, from its beginning.
_INSIDE = re.compile(
    r"""(?<![\w.-])([\w.-]++)(\s*+:\s*)((?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\$\{[^{}]*\}|[^,{}\[\]'"])+)"""
)
_LONG = 8  # a shorter secret is only replaced where it stands as a word of its own


def is_secret_name(key: str) -> bool:
    """Whether a config key is treated as secret whatever its type is (``cluster.pw``, ``api_key``)."""
    return _NAME.fullmatch(key.rpartition(".")[2]) is not None


@lru_cache(maxsize=1024)
def _fingerprint(secret: str) -> str:
    # Short, and slow to compute, so that it does not help who wants to guess the secret.
    return hashlib.scrypt(secret.encode(), salt=b"when_ml_pipeline_meets_hydra", n=2**11, r=8, p=1).hex()[:4]


def secret_values(node: Any, keys: Collection[str], key: str = "") -> Iterator[str]:
    """The values in a plain config that stand at secret keys, or at keys with a secret name."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from secret_values(value, keys, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            yield from secret_values(value, keys, key)
    elif node not in (None, "???", "") and (is_secret_name(key) or any(_meets(key, secret) for secret in keys)):
        yield str(node)


def _meets(key: str, secret: str) -> bool:
    """Whether a secret stands at ``key``, also where somebody gave a value for a group or a group for a value."""
    return key == secret or key.startswith(f"{secret}.") or secret.startswith(f"{key}.")


class Redactor:
    """Replaces secret values, wherever they occur, by a mask."""

    def __init__(self, values: Iterable[str] = ()) -> None:
        self._patterns: list[re.Pattern[str]] = []
        for value in sorted({v for v in values if v and v != MASK}, key=len, reverse=True):
            text = re.escape(value)
            self._patterns.append(re.compile(text if len(value) >= _LONG else rf"(?<![^\W_]){text}(?![^\W_])"))

    def text(self, text: str) -> str:
        """``text`` with every secret value, and every id and password in a URL, masked."""
        text = _IN_URL.sub(MASK, text)
        for pattern in self._patterns:
            text = pattern.sub(MASK, text)
        return text

    def marked(self, node: Any) -> Any:
        """A copy of plain values in which a short digest stands for each secret.

        So a step's inputs, which are written down, do not tell a secret that somebody put into another value, and
        are still other inputs where the secret is another one.
        """
        if isinstance(node, dict):
            return {k: self.marked(v) for k, v in node.items()}
        if isinstance(node, list | tuple):
            return [self.marked(v) for v in node]
        if isinstance(node, str):
            for pattern in self._patterns:
                node = pattern.sub(lambda m: f"<secret {_fingerprint(m[0])}>", node)
        return node

    def tree(self, node: Any, secret: Collection[str] = (), key: str = "") -> Any:
        """A copy of a plain config with the keys in ``secret``, secret names and secret values masked."""
        if isinstance(node, dict):
            return {k: self.tree(v, secret, f"{key}.{k}" if key else str(k)) for k, v in node.items()}
        if isinstance(node, list | tuple):
            return [self.tree(v, secret, key) for v in node]
        if node is not None and node != "???" and (key in secret or is_secret_name(key)):
            return MASK
        return self.text(node) if isinstance(node, str) else node

    def override(self, line: str, secret: Collection[str] = ()) -> str:
        """An override as it may be shown: ``cluster.pw=**********``."""
        key, equals, value = line.partition("=")
        name = key.lstrip("+~")
        if equals and value and value != "???" and (name in secret or is_secret_name(name)):
            return f"{key}={MASK}"

        def masked(inside: re.Match[str]) -> str:
            inner = any(s.startswith(f"{name}.") and s.endswith(f".{inside[1]}") for s in secret)
            return f"{inside[1]}{inside[2]}{MASK}" if inner or is_secret_name(inside[1]) else inside[0]

        return self.text(f"{key}{equals}{_INSIDE.sub(masked, value)}")


class Unmasked(Redactor):
    """Masks nothing, for a person who asked for it."""

    def text(self, text: str) -> str:
        """The text as it is."""
        return text

    def override(self, line: str, secret: Collection[str] = ()) -> str:
        """The override as it is."""
        return line
