"""Masking of secrets in everything that leaves the process."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property, lru_cache
from typing import Any

MASK = "**********"

_NAME = re.compile(
    r"(.*[_-])?(pw|pwd|pass|passwd|password|passphrase|secret|token|api_?key|access_?key|secret_?key|private_?key)",
    re.IGNORECASE,
)
_PARAMETERS = ("password", "sslpassword", "passwd", "pwd", "token", "access_token", "api_key", "apikey", "sig")
# In a URL: id and password before the host, and what follows "?password=".
_IN_URL = re.compile(
    rf"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)|(?:{'|'.join(f'(?<=[?&]{name}=)' for name in _PARAMETERS)})[^\s&#'\"]+",
    re.IGNORECASE,
)
# ``pw: value`` in the value of an override; possessive, so that a name is matched once, from its beginning.
_INSIDE = re.compile(
    r"""(?<![\w.-])([\w.-]++)(\s*+:\s*)((?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\$\{[^{}]*\}|[^,{}\[\]'"])+)"""
)
SHORTEST = 8  # characters; a shorter secret is not searched for in free text
_MOST_HELD = 64_000  # characters without a newline
_WORDS = re.compile(r"[A-Za-z]+(?:[ _-][A-Za-z]+)*")
_COMMON = frozenset(
    (
        *("accuracy", "administrator", "anonymous", "baseline", "columns", "computer", "database", "datasets"),
        *("default", "deployment", "features", "filename", "held-out", "internet", "localhost", "metadata"),
        *("modeling", "passwort", "password", "passwords", "pipeline", "postgres", "postgresql", "prediction"),
        *("preprocessing", "production", "registry", "snowflake", "training", "username", "validation", "warnings"),
    )
)
_INDEX = re.compile(r"\[\d+\]")
_BASE64 = "[A-Za-z0-9+/_-]"
_WIDTHS = (64, 76)  # of PEM, and of base64, MIME and Python's encodebytes


def is_secret_name(key: str) -> bool:
    """Return whether a config key is secret by its name, whatever its type (``cluster.pw``, ``api_key``)."""
    return _NAME.fullmatch(key.rpartition(".")[2]) is not None


def is_url_with_password(text: str) -> bool:
    """Return whether a password is written in a URL; one that is interpolated is not."""
    return any("${" not in found for found in _IN_URL.findall(text))


def without_passwords(text: str) -> str:
    """Return a text with the ids and passwords in its URLs masked."""
    return _IN_URL.sub(MASK, text)


@lru_cache(maxsize=1024)
def _fingerprint(secret: str) -> str:
    # Short and slow to compute, against guessing.
    return hashlib.scrypt(secret.encode(), salt=b"when_ml_pipeline_meets_hydra", n=2**11, r=8, p=1).hex()[:4]


def _spellings(value: str) -> set[str]:
    """Return how programs write a text and its lines: escaped for Python, JSON, HTML, YAML, shells or URLs, in hex."""
    import html
    from urllib.parse import quote, quote_plus

    lines = [line.strip() for line in value.splitlines()] if "\n" in value else []
    digits = value.encode("utf-8", "surrogatepass").hex()
    found = {value, digits, digits.upper()}
    for text in (value, *(line for line in lines if len(line) >= SHORTEST)):
        escaped = _escaped(text)
        found |= escaped.union(*(_escaped(again) for again in escaped if again != text))
        urls = {quote(text), quote(text, safe=""), quote_plus(text)}
        found |= (
            urls
            | {re.sub("%[0-9A-F]{2}", lambda m: m[0].lower(), url) for url in urls}
            | {u.lower() for u in urls if "%" in u}
        )
        found |= {html.escape(text), text.replace("'", "''"), text.replace("'", "'\"'\"'"), text.replace("'", r"'\''")}
    return found


def _escaped(text: str) -> set[str]:
    slashed = text.replace("\\", "\\\\")
    quoted = {slashed.replace(q, f"\\{q}") for q in "'\""} | {text.replace(q, f"\\{q}") for q in "'\""}
    python = {repr(text)[1:-1], ascii(text)[1:-1], repr(text.encode("utf-8", "surrogatepass"))[2:-1]}
    return {text, slashed, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], *quoted, *python}


def _base64_patterns(value: str) -> Iterator[str]:
    """Yield patterns of the value in base64, alone, also in lines, and behind other bytes (``user:password``)."""
    content = value.encode("utf-8", "surrogatepass")
    for before in range(3):  # bytes in the group of three in which the value begins
        encoded = base64.b64encode(bytes(before) + content).decode()
        start, end = (before * 8 + 5) // 6, (before + len(content)) * 8 // 6  # the characters of the value alone
        for text in {encoded[start:end], encoded[start:end].translate(str.maketrans("+/", "-_"))}:
            yield (f"{_BASE64}?" if before else "") + re.escape(text) + f"{_BASE64}?={{0,2}}"
    whole = base64.b64encode(content).decode()[: len(content) * 8 // 6]
    for width in _WIDTHS:  # of the lines in which programs write it
        lines = (whole[start : start + width] for start in range(0, len(whole), width))
        yield from (re.escape(line) + f"{_BASE64}?={{0,2}}" for line in lines if SHORTEST <= len(line) < len(whole))


def secret_values(node: Any, keys: Collection[str], key: str = "") -> Iterator[str]:
    """Yield the values of a plain config at the secret ``keys`` and at keys with a secret name."""
    return (value for _, value in secret_items(node, keys, key))


def secret_items(node: Any, keys: Collection[str], key: str = "") -> Iterator[tuple[str, str]]:
    """Yield keys and values of the secrets in a plain config."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from secret_items(value, keys, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            yield from secret_items(value, keys, key)
    elif node not in (None, "???", "") and (is_secret_name(key) or any(_overlaps(key, secret) for secret in keys)):
        yield key, str(node)


def _overlaps(key: str, secret: str) -> bool:
    """Return whether ``key`` is secret, contains a secret key, or lies below one."""
    return key == secret or key.startswith(f"{secret}.") or secret.startswith(f"{key}.")


class Redactor:
    """Masks secrets: in configs at their keys, in free text wherever their values occur, in any usual spelling.

    ``values`` are the values of secrets. ``derived`` are the config keys that hold them, or take them over by an
    interpolation. ``words`` are those that the configs use for something else: a secret that is one of them, a common
    word, or shorter than ``SHORTEST`` characters is replaced in free text only behind one of ``names``, the last parts
    of the secret keys: ``"pw": "abc"``.
    """

    def __init__(
        self,
        values: Iterable[str] = (),
        *,
        derived: Iterable[str] = (),
        words: Iterable[str] = (),
        names: Iterable[str] = (),
    ) -> None:
        self._values = sorted({v for v in values if v and v != MASK}, key=len, reverse=True)
        self._derived = frozenset(derived)
        self._words = {*_COMMON, *words}
        common = {v for v in self._values if _WORDS.fullmatch(v)} & self._words
        self._names = frozenset(names)
        self._searched = [v for v in self._values if len(v) >= SHORTEST and v not in common]

    @property
    def searches(self) -> bool:
        """Whether there are secrets to search for in free text."""
        return bool(self._searched)

    @cached_property
    def _free(self) -> re.Pattern[str] | None:
        """Matches the secrets in free text, longer ones first."""
        found = {spelling for value in self._searched for spelling in _spellings(value)}
        cases = {case for value in self._searched for case in (value.lower(), value.upper())}
        found |= {case for case in cases if case.lower() not in self._words}
        encoded = {pattern for value in self._searched for pattern in _base64_patterns(value)}
        patterns = [*map(re.escape, sorted(found, key=len, reverse=True)), *sorted(encoded, key=len, reverse=True)]
        return re.compile("|".join(patterns)) if patterns else None

    @cached_property
    def _literal(self) -> re.Pattern[str] | None:
        return re.compile("|".join(map(re.escape, self._values))) if self._values else None

    def text(self, text: str) -> str:
        """Return free ``text`` with secrets, and ids and passwords in URLs, masked."""
        text = without_passwords(text)
        text = self._free.sub(MASK, text) if self._free else text
        return self._behind_names.sub(rf"\1{MASK}", text) if self._behind_names else text

    @cached_property
    def _behind_names(self) -> re.Pattern[str] | None:
        """Matches the secrets that are not searched for elsewhere behind the name of a secret key."""
        names, values = ("|".join(map(re.escape, texts)) for texts in (self._names, self._unsearched))
        if not (names and values):
            return None
        return re.compile(rf"""(?<!\w)((?:{names})["']?\s*[:=]\s*["']?)(?:{values})(?!\w)""")

    @property
    def _unsearched(self) -> list[str]:
        return [value for value in self._values if value not in self._searched]

    def split(self, text: str) -> tuple[str, str]:
        """Split a stream's text into whole lines and a rest that has to be kept, since a secret may go on in it."""
        end = text.rfind("\n") + 1
        for lines in self._in_lines:
            starts = (end - len(begun) for begun in lines if text.endswith(begun, 0, end))
            end = min([end, *starts])
        if not end and len(text) > _MOST_HELD:
            end = len(text) - 2 * max(map(len, self._searched), default=0) - 100
            spans = (match.span() for match in self._free.finditer(text)) if self._free else ()
            end = min([end, *(start for start, stop in spans if start < end < stop)])
        return text[:end], text[end:]

    @cached_property
    def _in_lines(self) -> list[list[str]]:
        """The beginnings of each secret of several lines, up to each of its newlines."""
        return [
            [value[: place.end()] for place in re.finditer("\n", value) if place.end() < len(value)]
            for value in self._searched
            if "\n" in value
        ]

    def at(self, key: str, text: str) -> str:
        """Return a text about the value of a config key, masked."""
        return self.text(self._masked(key, text))

    def fingerprinted(self, key: str, value: Any) -> Any:
        """Return the value of a config key, with a secret in it replaced by a short digest.

        The stored inputs of a step then do not reveal the secret, and still differ where it differs.
        """
        if not (self._literal and (self._is_derived(key) or is_secret_name(key))):
            return value
        text = self._literal.sub(lambda m: f"<secret {_fingerprint(m[0])}>", str(value))
        return text if isinstance(value, str) or text != str(value) else value

    def _masked(self, key: str, text: str) -> str:
        return self._literal.sub(MASK, text) if self._literal and self._is_derived(key) else text

    def _is_derived(self, key: str) -> bool:
        key = _INDEX.sub("", key)
        return any(key == d or key.startswith(f"{d}.") for d in self._derived)

    def tree(self, node: Any, secret: Collection[str] = (), key: str = "", *, free: bool = False) -> Any:
        """Return a copy of a plain config with the keys in ``secret``, and those with a secret name, masked.

        Elsewhere, only a secret that came by an interpolation is replaced; with ``free``, each text is a free text.
        """
        if isinstance(node, dict):
            return {k: self.tree(v, secret, f"{key}.{k}" if key else str(k), free=free) for k, v in node.items()}
        if isinstance(node, list | tuple):
            return [self.tree(v, secret, key, free=free) for v in node]
        if node is not None and node != "???" and (is_secret_name(key) or any(_overlaps(key, s) for s in secret)):
            return MASK
        if isinstance(node, str):
            return self.at(key, node) if free else self._masked(key, without_passwords(node))
        is_taken_over = node is not None and self._derived and str(node) in self._values and self._is_derived(key)
        return MASK if is_taken_over else node

    def override(self, line: str, secret: Collection[str] = ()) -> str:
        """Return an override with its secrets masked: ``cluster.pw=**********``."""
        key, equals, value = line.partition("=")
        name = key.lstrip("+~")
        is_secret = is_secret_name(name) or any(name == s or name.startswith(f"{s}.") for s in secret)
        is_above = any(s.startswith(f"{name}.") for s in secret) and not value.lstrip().startswith(("{", "${"))
        if equals and value and value != "???" and (is_secret or is_above):
            return f"{key}={MASK}"

        def masked(inside: re.Match[str]) -> str:
            inner = any(s.startswith(f"{name}.") and s.endswith(f".{inside[1]}") for s in secret)
            return f"{inside[1]}{inside[2]}{MASK}" if inner or is_secret_name(inside[1]) else inside[0]

        return without_passwords(f"{key}{equals}{_INSIDE.sub(masked, value)}")


class Unmasked(Redactor):
    """Masks nothing (``show_secrets=true``)."""

    def text(self, text: str) -> str:
        """Return the text unchanged."""
        return text

    def split(self, text: str) -> tuple[str, str]:
        """Split the text after its last newline."""
        end = text.rfind("\n") + 1
        return text[:end], text[end:]

    def override(self, line: str, secret: Collection[str] = ()) -> str:
        """Return the override unchanged."""
        return line
