"""The program under strace: what it connects to, and the files that it creates or opens to write."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

from needed import need

PROGRAM = Path(sys.executable).parent / "wmh"
_CALLS = "connect,sendto,sendmsg,sendmmsg,open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat"
_PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)(?:<([^>]*)>)?, )?"((?:[^"\\]|\\.)*)"')
_ADDRESS = re.compile(r'htons\((\d+)\).*?(?:inet_addr\("|inet_pton\(AF_INET6, ")([^"]*)')
_LOOPBACK = ("127.", "::1", "::ffff:127.")
# What Python and the C library open to write by themselves: devices, semaphores, bytecode.
_OF_THE_SYSTEM = re.compile(r"/(dev|proc)/|.*/__pycache__(/|$)|/(tmp|dev/shm)/#\d+")


class Trace:
    """strace's log of a command, ``command``, and of all processes that it started."""

    def __init__(self, log: Path, *words: str, program: Path = PROGRAM) -> None:
        need("strace")
        self._log = log
        options = ["-D", "-f", "-q", "-y", "--seccomp-bpf", "--string-limit=4096", f"--trace={_CALLS}"]
        # -D: the program is the child itself, and receives its signals
        self.command = ["strace", *options, f"--output={log}", str(program), *words]

    def lines(self, process: int) -> list[str]:
        """The lines of the log, once ``process`` has ended."""
        end = re.compile(rf"^{process} +\+\+\+ (exited|killed)", re.MULTILINE)
        for _ in range(600):
            text = self._log.read_text(errors="replace") if self._log.exists() else ""
            if end.search(text):
                return text.splitlines()
            time.sleep(0.05)
        raise AssertionError(f"strace has not ended: {text[-500:]}")

    def connections(self, process: int) -> set[str]:
        """The addresses of other machines, and of name servers."""
        found = set()
        for line in self.lines(process):
            if re.match(r"\d+ +(connect|send\w+)\(", line) and (address := _ADDRESS.search(line)):
                port, host = address.groups()
                if port == "53" or not host.startswith(_LOOPBACK):
                    found.add(f"{host}:{port}")
        return found

    def written(self, process: int, folder: Path) -> set[str]:
        """The paths that were created, renamed or opened to write; relative ones lie in ``folder``."""
        found = set()
        for line in self.lines(process):
            call = re.match(r"\d+ +(\w+)\(", line)
            if not call or call[1].startswith(("connect", "send")) or " = -1 " in line:
                continue
            if call[1] in ("open", "openat") and not re.search(r"O_WRONLY|O_RDWR|O_CREAT", line):
                continue
            found |= {os.path.join(base or folder, name) for base, name in _PATH.findall(line)}  # noqa: PTH118
        return {path for path in found if not _OF_THE_SYSTEM.match(path)}
