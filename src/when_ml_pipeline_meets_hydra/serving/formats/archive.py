"""A bundle as an uploaded archive: an uncompressed tar of its files."""

from __future__ import annotations

import base64
import re
import shutil
import tarfile
from pathlib import Path
from typing import IO

from when_ml_pipeline_meets_hydra.serving.formats.manifest import FILES, MANIFEST, BundleRefused

DIGEST_HEADER = "Content-Digest"
NAMES = (MANIFEST, *FILES)


def pack(bundle: Path, archive: IO[bytes]) -> None:
    """Write the bundle in the directory ``bundle`` to ``archive``, without owners and times."""
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in NAMES:
            member = tarfile.TarInfo(name)
            member.size = (bundle / name).stat().st_size
            with (bundle / name).open("rb") as file:
                tar.addfile(member, file)


def digest_header(digest: bytes) -> str:
    """Return the value of ``Content-Digest`` for a SHA-256 of the body (RFC 9530)."""
    return f"sha-256=:{base64.b64encode(digest).decode()}:"


def parse_digest_header(header: str) -> bytes:
    """Return the SHA-256 in a ``Content-Digest`` header.

    Raises:
        BundleRefused: the header has none.
    """
    match = re.search(r"(?:^|,)\s*sha-256=:([A-Za-z0-9+/]{43}=):", header)
    if match is None:
        raise BundleRefused(f"an upload needs {DIGEST_HEADER}: sha-256=:…:, the SHA-256 of its body in base64")
    return base64.b64decode(match[1])


def unpack(archive: IO[bytes], folder: Path) -> None:
    """Extract an untrusted archive into ``folder``.

    Only regular files with exactly the names of a bundle are accepted, which prevents path traversal; since nothing is
    compressed or sparse, they take no more space than the archive.

    Raises:
        BundleRefused: the archive is malformed, or has other files.
    """
    try:
        with tarfile.open(fileobj=archive, mode="r:") as tar:
            for member in tar:
                _extract(tar, member, folder)
    except (tarfile.TarError, EOFError, ValueError, OverflowError, RecursionError):
        raise BundleRefused("the body is not a readable, uncompressed tar archive") from None
    if missing := [name for name in NAMES if not (folder / name).is_file()]:
        raise BundleRefused(f"the archive has no {', '.join(missing)}")


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    shown = repr(member.name[:80])
    if member.name not in NAMES or (folder / member.name).exists():
        raise BundleRefused(f"the archive holds {shown}; expected once each: {', '.join(NAMES)}")
    content = tar.extractfile(member) if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else None
    if content is None or member.issparse():
        raise BundleRefused(f"{shown} in the archive is not a regular file")
    with (folder / member.name).open("xb") as file:
        shutil.copyfileobj(content, file)
