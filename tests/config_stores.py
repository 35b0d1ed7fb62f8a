"""Config stores for tests: with entries of their own, in a SQLite file or in a real PostgreSQL."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from database_servers import PASSWORD, PostgresServer
from when_ml_pipeline_meets_hydra.config_store.store import ConfigStore

_databases = itertools.count()


def stored(location: str, texts: Mapping[str, str | None], user: str = "ann") -> ConfigStore:
    """A store to which texts were published without a check; returns it."""
    store = ConfigStore(location, user)
    bases = store.bases() if store.exists else {}
    store.publish(store.edit(texts, bases, "for a test"), lambda _: None)
    return store


def new_database(server: PostgresServer) -> str:
    """The URL of an empty database on a server."""
    name = f"configs_{next(_databases)}"
    server.run(f"CREATE DATABASE {name}")
    return f"postgresql+psycopg://app:{PASSWORD}@127.0.0.1:{server.port}/{name}"


def customers(count: int) -> dict[str, str]:
    """One default and entries of customers, each of which overrides one of two keys, or none."""
    default = "# @package knobs\n# What all customers share\nrate: 0.5\nrounds: 10\nshape: line\nstrict: false\n"
    own = ("rate: 0.25\n", "rounds: 20\n", "")
    texts = {
        f"fit/knobs/customer_{n:03}": f"# @package knobs\n# Customer {n}\ndefaults:\n- default\n- _self_\n{own[n % 3]}"
        for n in range(count)
    }
    return {"fit/knobs/default": default, **texts}
