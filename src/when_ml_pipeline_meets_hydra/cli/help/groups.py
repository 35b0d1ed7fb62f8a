"""``--help``: made from the option files alone, without Hydra, so that it is fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from when_ml_pipeline_meets_hydra.cli import COMMANDS
from when_ml_pipeline_meets_hydra.cli.arguments import FLAGS, PROGRAM
from when_ml_pipeline_meets_hydra.cli.output.consoles import console
from when_ml_pipeline_meets_hydra.cli.project import current_project
from when_ml_pipeline_meets_hydra.composing.offered import Groups, choices_of, stages_of
from when_ml_pipeline_meets_hydra.composing.tree import HELP, STAGES, Stage, read_options, shown_groups

EXAMPLES = (
    ("Train on the cars data and deploy the model", "c=preprocessing,modeling,deployment --multirun"),
    ("Train another model with other values", "c=modeling modeling/model=random_forest m_param.n_estimators=300"),
    ("Show the plan for your own data", "plan c=modeling preprocessing/dataset=csv dataset.path=my.csv …"),
)


def show_help(search_path: Sequence[str]) -> int:
    """Print the tree of commands, every group with its options, our own commands and examples."""
    out = console()
    lines = _lines(read_options(search_path), out.width)
    if out.is_terminal:
        out.print(Text("\n").join(lines), no_wrap=True, overflow="ignore", crop=False)
    else:
        out.file.write("".join(f"{line.plain}\n" for line in lines))
    return 0


def _lines(groups: Groups, width: int) -> Iterator[Text]:
    yield Text("Machine-learning pipelines in which every choice is an argument.")
    yield Text()
    yield Text.assemble(("Usage: ", "bold"), f"{PROGRAM} [c=STAGE] [GROUP=OPTION] [KEY=VALUE] [FLAGS]")
    yield Text(f"       {PROGRAM} COMMAND …")
    project = current_project()
    if project:
        yield Text.assemble(("Project: ", "bold"), str(project.file))
    stages = stages_of(groups)
    yield from _title("Stages and their subcommands", "(c=STAGE also runs what it needs; * is the default)")
    yield from _command_tree(groups, stages, width)
    yield from _title("Config groups", "(GROUP=OPTION chooses; * is the default)")
    yield from _groups(groups, stages, width)
    yield from _title("Commands")
    for name, text in COMMANDS.items():
        yield from _row("  ", name, text, 26, width)
    if project and project.aliases:
        import shlex

        yield from _title("Aliases", f"({PROGRAM} ALIAS …)")
        for name, given in project.aliases.items():
            yield from _row("  ", name, shlex.join(given), 26, width)
    yield from _title("Flags")
    for name, text in FLAGS:
        yield from _row("  ", name, text, 26, width)
    yield from _title("Examples")
    for text, words in EXAMPLES:
        yield Text(f"  # {text}", "dim")
        yield Text(f"  {PROGRAM} {words}")


def _title(title: str, more: str = "") -> Iterator[Text]:
    yield Text()
    yield Text.assemble((title, "bold"), (f" {more}" if more else "", "dim"))


def _command_tree(groups: Groups, stages: Sequence[Stage], width: int) -> Iterator[Text]:
    for stage in stages:
        yield from _row("├── ", stage.name, groups[STAGES][stage.name].description, 16, width, "│   ")
        options = groups[stage.group]
        for name, option in options.items():
            is_last = name == list(options)[-1]
            star = "*" if name == stage.subcommand else ""
            command = f"{name + star:<9} -> c={stage.name} {stage.group}={name}"
            branches = ("│   └── ", "│       ") if is_last else ("│   ├── ", "│   │   ")
            yield from _row(branches[0], command, option.description, 58, width, branches[1])
    yield Text.assemble(("└── ", "dim"), (f"{HELP:<13} -> {STAGES}={HELP}", "cyan"))


def _groups(groups: Groups, stages: Sequence[Stage], width: int) -> Iterator[Text]:
    chosen = choices_of(groups)
    order = [stage.name for stage in stages]
    tops = {group: group.partition("/")[0] for group in shown_groups(groups) if group.partition("/")[0] != STAGES}
    for group in sorted(tops, key=lambda g: order.index(tops[g]) if tops[g] in order else len(order)):
        yield Text(f"  {group}", "bold")
        for name, option in groups[group].items():
            star = "*" if chosen.get(group) == name else ""
            yield from _row("    ", name + star, option.description, 23, width)


def _row(indent: str, name: str, text: str, column: int, width: int, below: str = "") -> Iterator[Text]:
    """A name and its wrapped description, which starts on a new line if there is little room beside the name."""
    start = len(indent) + column + 1
    first = Text.assemble((indent, "dim"), (f"{name:<{column}} ", "cyan"))
    if start + len(text) > width and width - start < 40:
        first.rstrip()
        yield first
        first, start = Text(below, "dim"), len(below) + 4
        first.append(" " * 4)
    lines = [text]
    if start + len(text) > width:
        import textwrap

        lines = textwrap.wrap(text, max(width - start, 20)) or [""]
    yield first.append(lines[0])
    for line in lines[1:]:
        yield Text(f"{below:<{start}}", "dim").append(line)
