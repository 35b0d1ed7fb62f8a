"""Find the config keys whose values take a secret over by an interpolation: ``name: at_${target.login.phrase}``."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from when_ml_pipeline_meets_hydra.masking import is_secret_name

_REFERENCE = re.compile(r"\$\{\s*(\.*)([\w.\[\]-]+)\s*\}")
_RESOLVER = re.compile(r"\$\{\s*[\w.]+\s*:")
_WORD = re.compile(r"[A-Za-z_][\w.-]*")


def derived_keys(config: Mapping[str, Any], secret: Collection[str]) -> Iterator[str]:
    """Yield the keys of an unresolved config whose text leads to a key in ``secret``, or to one with a secret name.

    A text that cannot be read without resolving it, such as ``${a.${b}}``, counts as one that does.
    """
    finder = _Finder(config, secret)
    for key, text in _leaves(config):
        if "${" in text and not finder.is_secret(key) and finder.leads_to_secret(key, text, frozenset()):
            yield key


def _leaves(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the texts of a plain config with their keys; the items of a list have the key of the list."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif isinstance(node, list):
        for value in node:
            yield from _leaves(value, key)
    elif isinstance(node, str):
        yield key, node


class _Finder:
    def __init__(self, config: Mapping[str, Any], secret: Collection[str]) -> None:
        self._config, self._secret = config, secret
        texts = [text for key, text in _leaves(config) if "${" in text and self.is_secret(key)]
        # The variables from which secrets come are secret wherever they are named.
        self._variables = {name for text in texts for name in re.findall(r"oc\.env\s*:\s*([A-Za-z_]\w*)", text)}

    def is_secret(self, key: str) -> bool:
        return is_secret_name(key) or any(key == s or key.startswith(f"{s}.") for s in self._secret)

    def leads_to_secret(self, key: str, text: str, seen: frozenset[str]) -> bool:
        """Return whether the interpolations in the text of ``key`` lead to a secret, also by way of other keys."""
        references = [(len(dots), name) for dots, name in _REFERENCE.findall(text)]
        if text.count("${") > len(references) + len(_RESOLVER.findall(text)):
            return True
        names = [self._absolute(key, dots, name) for dots, name in references]
        # Arguments of resolvers may be the names of variables or of keys (``oc.env:X``, ``oc.select:a.b``).
        words = _WORD.findall(_REFERENCE.sub("", text)) if _RESOLVER.search(text) else []
        if any(word in self._variables or (is_secret_name(word) and "oc.env" in text) for word in words):
            return True
        return any(self._is_reached(name, seen) for name in (*names, *words) if name not in seen)

    def _absolute(self, key: str, dots: int, name: str) -> str:
        if not dots:
            return name
        return ".".join([*key.split(".")[: -dots or None], name])

    def _is_reached(self, name: str, seen: frozenset[str]) -> bool:
        """Return whether a key is secret, contains a secret, or takes one over."""
        if self.is_secret(name) or any(s.startswith(f"{name}.") for s in self._secret):
            return True
        node: Any = self._config
        path = ""
        for part in re.split(r"[.\[\]]+", name.rstrip("]")):
            if isinstance(node, str):
                break  # an interpolation, which leads on
            node = node.get(part) if isinstance(node, Mapping) else self._item(node, part)
            path = f"{path}.{part}" if path else part
        leaves = _leaves(node, path)
        seen = seen | {name}
        return any(self.is_secret(k) or ("${" in text and self.leads_to_secret(k, text, seen)) for k, text in leaves)

    @staticmethod
    def _item(node: Any, part: str) -> Any:
        return node[int(part)] if isinstance(node, list) and part.isdigit() and int(part) < len(node) else None
