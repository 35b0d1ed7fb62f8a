"""Start the web app and run it until it is stopped."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType

import uvicorn

from when_ml_pipeline_meets_hydra.serving.http.connections import Connection
from when_ml_pipeline_meets_hydra.serving.http.listening import listening
from when_ml_pipeline_meets_hydra.serving.http.users import Users
from when_ml_pipeline_meets_hydra.serving.worker import log_to_stderr
from when_ml_pipeline_meets_hydra.web.app import create_app
from when_ml_pipeline_meets_hydra.web.launch.queue import Launches
from when_ml_pipeline_meets_hydra.web.settings import Settings

GRACE_SECONDS = 10


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve the web app until SIGINT or SIGTERM; requests already received are completed.

    ``announce`` is called with each line for the user who started it.

    Raises:
        BadInput: the address cannot be bound, the users cannot be read, or the certificate cannot be used.
    """
    names = Users(settings.repository, settings.sole).all()
    with listening(settings) as (listener, url):
        announce(f"The web app is at {url} for {', '.join(sorted(names)[:5])} (Ctrl-C stops)")
        for line in settings.warnings():
            announce(line)
        log_to_stderr()
        launches = Launches(settings.launch_limit)
        _Server(config(settings, launches), launches).run([listener])
    announce("Stopped.")


def config(settings: Settings, launches: Launches) -> uvicorn.Config:
    """Return how uvicorn serves the app; it ends ``launches`` when it stops."""
    return uvicorn.Config(
        create_app(settings, launches),
        http=partial(Connection, settings),  # type: ignore[arg-type]  # uvicorn only calls it
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxy),
        forwarded_allow_ips=settings.proxy,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.key,
    )


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, launches: Launches) -> None:
        super().__init__(config)
        self._launches = launches

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; streams of events end, which would be waited for otherwise."""
        self._launches.stopping.set()
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End after a signal, which uvicorn itself would raise once more afterwards."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.handle_exit)
        yield
