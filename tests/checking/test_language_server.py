"""The YAML language server of VS Code, over stdio, with the settings that ``wmh schema`` writes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from small_pipeline import inside, write

pytestmark = pytest.mark.integration("yaml-language-server")
TEXT = "# @package split\n# Mine\n_target_: when_ml_pipeline_meets_hydra.ml.splits.random.RandomSplit\n"


class Server:
    """A language server: what it is asked, and what it says."""

    def __init__(self, root: Path) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(["yaml-language-server", "--stdio"], stdin=pipe, stdout=pipe)
        self._number, self._root = 0, root
        self.settings = json.loads((root / ".vscode" / "settings.json").read_text())
        capabilities = {"workspace": {"configuration": True}, "textDocument": {"completion": {}}}
        start = {"processId": None, "rootUri": root.as_uri(), "capabilities": capabilities}
        folders = [{"uri": root.as_uri(), "name": "root"}]
        self.ask("initialize", {**start, "workspaceFolders": folders})
        self.send({"method": "initialized", "params": {}})
        self.send({"method": "workspace/didChangeConfiguration", "params": {"settings": self._yaml()}})

    def _yaml(self) -> dict[str, Any]:
        schemas = {
            (self._root / name).resolve().as_uri(): patterns for name, patterns in self.settings["yaml.schemas"].items()
        }
        return {"yaml": {"schemas": schemas, "validate": True, "completion": True, "schemaStore": {"enable": False}}}

    def send(self, message: dict[str, Any]) -> None:
        """Send a message."""
        content = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(content), content))
        self._process.stdin.flush()

    def messages(self) -> Iterator[dict[str, Any]]:
        """The messages of the server; its questions about the configuration are answered."""
        out = self._process.stdout
        assert out
        while line := out.readline():
            if not line.lower().startswith(b"content-length:"):
                continue
            size = int(line.split(b":")[1])
            while out.readline().strip():
                pass
            message = json.loads(out.read(size))
            if "method" in message and "id" in message:
                items = message.get("params", {}).get("items", [])
                answers = [self._yaml().get(item.get("section")) for item in items]
                result = answers if message["method"] == "workspace/configuration" else None
                self.send({"id": message["id"], "result": result})
            else:
                yield message

    def ask(self, method: str, params: dict[str, Any]) -> Any:
        """The answer to a request."""
        self._number += 1
        self.send({"id": self._number, "method": method, "params": params})
        return next(m["result"] for m in self.messages() if m.get("id") == self._number)

    def problems(self, file: Path) -> list[str]:
        """What the server says about a file that is opened."""
        document = {"uri": file.as_uri(), "languageId": "yaml", "version": 1, "text": file.read_text()}
        self.send({"method": "textDocument/didOpen", "params": {"textDocument": document}})
        said = (m["params"] for m in self.messages() if m.get("method") == "textDocument/publishDiagnostics")
        return [d["message"] for d in next(p for p in said if p["uri"] == file.as_uri())["diagnostics"]]

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def test_values_and_keys_are_checked_and_keys_are_completed_with_descriptions() -> None:
    files = {
        "preprocessing/split/good.yaml": f"{TEXT}test_fraction: 0.3\nseed: ${{seed}}\n",
        "preprocessing/split/value.yaml": f"{TEXT}test_fraction: 2\n",
        "preprocessing/split/key.yaml": f"{TEXT}test_fractoin: 0.3\n",
        "preprocessing/split/half.yaml": f"{TEXT}\n",
    }
    folder = Path(write(Path("conf"), files)) / "preprocessing" / "split"
    assert inside("schema", "--config-dir", "conf").code == 0
    server = Server(Path.cwd())
    try:
        assert server.problems((folder / "good.yaml").absolute()) == []
        assert server.problems((folder / "value.yaml").absolute())
        assert any("test_fractoin" in text for text in server.problems((folder / "key.yaml").absolute()))
        half = (folder / "half.yaml").absolute()
        server.problems(half)
        place = {"textDocument": {"uri": half.as_uri()}, "position": {"line": 3, "character": 0}}
        found = server.ask("textDocument/completion", place)
        items = {item["label"]: item for item in (found["items"] if isinstance(found, dict) else found)}
        assert "test_fraction" in items
        assert items["test_fraction"].get("documentation")
    finally:
        server.close()
