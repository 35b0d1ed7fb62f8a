"""What Hydra has composed in this process before, for as long as nothing that it reads has changed.

So a program that runs pipelines one after the other has each choice of options composed by Hydra once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.default_element import ResultDefault
from hydra.core.utils import JobRuntime
from hydra.plugins.config_source import ConfigSource
from hydra.version import getbase

from when_ml_pipeline_meets_hydra.composing.tree import TooManyFiles, files_below, folder_of

#: The choices of options → the pickled config, and the option files in the order in which they were merged.
Compositions = dict[tuple[str, ...], tuple[bytes, tuple[ResultDefault, ...]]]

MOST_STATES = 8
_OF_HYDRA = ("hydra", "schema")  # the providers of Hydra's own options, and of those in its store

# The state of all that is read → the compositions. The nodes of Hydra's store are kept, so that no other gets their id.
_KNOWN: dict[tuple[Any, ...], tuple[Compositions, list[Any]]] = {}


def compositions(sources: Sequence[ConfigSource]) -> Compositions:
    """The compositions from these sources, to be added to; none so far where they have changed or cannot be compared.

    A file that changed less than a second ago may change again without having another time.
    """
    try:
        files = [file for source in sources for file in _files(source)]
    except (TooManyFiles, OSError):
        return {}
    if max((at for *_, at in files), default=0) >= time.time_ns() - 10**9:
        return {}
    nodes = list(_nodes(ConfigStore.instance().repo))
    places = tuple((source.provider, source.scheme(), source.path) for source in sources)
    state = (places, tuple(files), tuple(map(id, nodes)), JobRuntime.instance().get("name"), str(getbase()))
    if state not in _KNOWN:
        while len(_KNOWN) >= MOST_STATES:
            del _KNOWN[next(iter(_KNOWN))]
        _KNOWN[state] = {}, nodes
    return _KNOWN[state][0]


def _files(source: ConfigSource) -> Iterator[tuple[str, int, int, int, int]]:
    """The files of a source; none of Hydra's own. Raises ``OSError``."""
    if source.provider in _OF_HYDRA:
        return
    if (folder := folder_of(source.full_path())) is None:
        raise FileNotFoundError(source.full_path())
    for file, at in files_below(folder, ".yaml"):
        yield file, at.st_ino, at.st_size, at.st_mtime_ns, at.st_ctime_ns


def _nodes(group: Mapping[str, Any]) -> Iterator[Any]:
    for value in group.values():
        if isinstance(value, dict):
            yield from _nodes(value)
        else:
            yield value
