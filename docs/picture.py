"""Make the picture of the README from a real run: ``python docs/picture.py``."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

PROGRAM = "when_ml_pipeline_meets_hydra"
PICTURE = Path(__file__).parent / "_static" / "run.svg"
COMMANDS = (
    "c=preprocessing,modeling,deployment --multirun",
    "plan c=deployment m_param.learning_rate=0.2",
    "c=modeling modeling/model=forest m_param.learning_rate=1.5",
)
WIDTH = 118


def main() -> None:
    """Run the commands in an empty folder and draw what a terminal would show."""
    console = Console(record=True, width=WIDTH, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115, PTH123
    environment = {**os.environ, "FORCE_COLOR": "1", "TTY_INTERACTIVE": "0", "COLUMNS": str(WIDTH)}
    environment.pop("NO_COLOR", None)
    with tempfile.TemporaryDirectory() as folder:
        environment["WMH_HOME"] = f"{folder}/.pipeline"
        for words in COMMANDS:
            command = [str(Path(sys.executable).parent / PROGRAM), *words.split()]
            done = subprocess.run(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            console.print(Text(f"$ {PROGRAM} {words}", "bold"))
            # The place of a progress bar that is gone is an empty line.
            lines = [line for line in done.stdout.expandtabs(4).splitlines() if line.strip()]
            console.print(Text.from_ansi("\n".join(lines)))
            console.print()
    PICTURE.write_text(console.export_svg(title=PROGRAM), encoding="utf-8")


if __name__ == "__main__":
    main()
