"""Where a server listens: its address, its certificate, and the limits of a connection."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, kw_only=True)
class Listening:
    """Address and limits of any server.

    Attributes:
        host: address to listen on.
        port: port to listen on, 0 for a free one.
        certificate: file of the certificate and its chain, for TLS.
        key: file of its private key.
        proxy: address of a proxy whose X-Forwarded-For header is trusted; empty: none.
        header_limit: largest head of a request (its first line and its headers), in bytes.
        receive_timeout: seconds in which a request must be received; for changes of a repository, seconds between two
            parts of its body.
        failed_logins: failed logins that an address may have in a minute, for each worker.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    certificate: Path | None = None
    key: Path | None = None
    proxy: str = ""
    header_limit: int = 64 << 10
    receive_timeout: float = 30
    failed_logins: int = 10

    def warnings(self) -> Iterator[str]:
        """Yield a line if passwords would travel over a network as they are."""
        if not self.certificate and self.host not in LOOPBACK:
            yield "Warning: passwords travel unencrypted; give the server a --certificate and a --key."


@contextmanager
def listening(settings: Listening) -> Iterator[tuple[socket.socket, str]]:
    """Yield a listening socket and its URL.

    Raises:
        BadInput: the address cannot be bound, or the certificate cannot be used.
    """
    _check_certificate(settings.certificate, settings.key)
    host, port = settings.host, settings.port
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # asyncio sets TCP_NODELAY only where the protocol is named; without it a response takes 40 ms.
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as problem:
        raise BadInput(Problem(key="--host", value=host, message=problem.strerror or "unknown address")) from None
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(1024)
        except OSError as problem:
            remedy = "Stop the process that listens there, or use another port; --port 0 takes a free one"
            message = f"cannot listen on {host}: {(problem.strerror or str(problem)).lower()}"
            raise BadInput(Problem(key="--port", value=str(port), message=message, remedy=remedy)) from None
        yield listener, _url(host, listener.getsockname()[1], "https" if settings.certificate else "http")


def _check_certificate(certificate: Path | None, key: Path | None) -> None:
    if certificate is None and key is None:
        return
    if certificate is None or key is None:
        missing = "--certificate" if certificate is None else "--key"
        raise BadInput(Problem(key=missing, message="TLS needs a certificate and its key"))
    try:
        # With an encrypted key, each worker would prompt for its password.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (OSError, ValueError) as problem:
        message = f"with {key} it cannot be used: {getattr(problem, 'reason', None) or problem}"
        remedy = "Both need to be in PEM, and the key without a password"
        raise BadInput(Problem(key="--certificate", value=str(certificate), message=message, remedy=remedy)) from None


def _url(host: str, port: int, scheme: str) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
