"""Completion for bash, zsh and fish: groups, options, keys, commands; only reads option files and run ids."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from when_ml_pipeline_meets_hydra.cli import COMMANDS
from when_ml_pipeline_meets_hydra.cli.arguments import FLAGS, LONG_NAME, PROGRAM, parse_arguments, search_path
from when_ml_pipeline_meets_hydra.cli.project import current_project, with_project_folders, without_alias
from when_ml_pipeline_meets_hydra.composing.environment import home
from when_ml_pipeline_meets_hydra.composing.offered import choices_of
from when_ml_pipeline_meets_hydra.composing.tree import (
    PRIMARY,
    STAGES,
    Option,
    choices_by,
    load_yaml,
    read_options,
    shown_groups,
    with_included,
)
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

_INSTALL = {
    "bash": """\
_wmh() {{
    local IFS=$'\\n' line="${{COMP_LINE:0:COMP_POINT}}" word keep=""
    COMPREPLY=($(COMP_LINE="$line" "$1" -sc query=bash 2>/dev/null))
    word="${{line##* }}"
    # readline treats = and : as word breaks and completes only the text after them
    [[ "$word" == *[=:]* && "$COMP_WORDBREAKS" == *=* ]] && keep="${{word%"${{word##*[=:]}}"}}"
    COMPREPLY=("${{COMPREPLY[@]#"$keep"}}")
}}
complete -o nospace -F _wmh {names}
""",
    "zsh": """\
autoload -Uz compinit && compinit -u
_wmh() {{
    local -a candidates
    candidates=("${{(@f)$(COMP_LINE="${{BUFFER[1,CURSOR]}}" ${{words[1]}} -sc query=zsh 2>/dev/null)}}")
    compadd -S '' -- $candidates
}}
compdef _wmh {names}
""",
    "fish": """\
for name in {names}
    complete -c $name -f -a '(env COMP_LINE=(commandline -cp) wmh -sc query=fish 2>/dev/null)'
end
""",
}
_UNINSTALL = {
    "bash": "complete -r {names}; unset -f _wmh\n",
    "zsh": "compdef -d {names}; unfunction _wmh\n",
    "fish": "for name in {names}; complete -e -c $name; end\n",
}


def complete(arguments: list[str], environment: Mapping[str, str]) -> int:
    """Print the script of ``-sc install=SHELL`` or ``uninstall=SHELL``; for ``query=SHELL`` complete ``$COMP_LINE``."""
    verb, _, shell = arguments[-1].partition("=")
    scripts = {"install": _INSTALL, "uninstall": _UNINSTALL}
    if shell not in _INSTALL or verb not in (*scripts, "query"):
        remedy = "Use install=, uninstall= or query= with bash, zsh or fish"
        raise BadInput(Problem(key="-sc", value=arguments[-1], message="not understood", remedy=remedy))
    if verb == "query":
        found = candidates(environment.get("COMP_LINE", ""))
        print("\n".join(map(_with_file, found) if shell == "fish" else found))
    else:
        sys.stdout.write(scripts[verb][shell].format(names=f"{PROGRAM} {LONG_NAME}"))
    return 0


def _with_file(candidate: str) -> str:
    """A candidate with the file of the project behind an alias, which fish shows beside it."""
    project = current_project()
    is_alias = project is not None and candidate.rstrip() in project.aliases
    return f"{candidate}\t{project.file}" if project and is_alias else candidate


def candidates(line: str) -> list[str]:
    """Return the completions of the last word of a command line, as whole words."""
    words = line.split()[1:]
    word = "" if not words or line.endswith(" ") else words.pop()
    project = current_project()
    names = [f"{name} " for name in project.aliases if name.startswith(word)] if project and not words else ()
    words = without_alias(words)
    first = words[0] if words else None
    if first in COMMANDS and first != "plan":
        return sorted(w for w in _command_candidates(words) if w.startswith(word))
    completions = {*_override_candidates(word, words), *names}
    if not words:
        completions |= {f"{c} " for c in COMMANDS if c.startswith(word)}
    return sorted(completions)


def _command_candidates(words: list[str]) -> Iterator[str]:
    """Subcommands, run ids, entries and flags of one of our own commands."""
    from when_ml_pipeline_meets_hydra.cli.typer_app import command

    node: Any = command(has_config=words[:1] == ["config"])
    for word in words:
        node = getattr(node, "commands", {}).get(word, node)
    yield from getattr(node, "commands", ())
    yield from (flag for p in node.params for flag in p.opts if flag.startswith("--"))
    if words[:1] == ["runs"] and len(words) > 1 and words[1] != "list":
        yield "last"
        yield from (folder.name for folder in (home() / "runs").glob("*"))
    if words[:1] == ["config"] and words[1:2] in (["show"], ["edit"], ["history"]):
        from when_ml_pipeline_meets_hydra.composing.checkouts import checkout
        from when_ml_pipeline_meets_hydra.composing.store_entry import CONFIGURED

        with suppress(BadInput):
            folder = checkout(CONFIGURED)
            yield from (file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml"))


def _override_candidates(word: str, words: list[str]) -> Iterator[str]:
    if word.startswith("-"):
        yield from (f for names, _ in FLAGS for f in names.partition(" ")[0].split(",") if f.startswith(word))
        return
    groups = read_options(_search_path(words))
    prefix = word[: len(word) - len(word.lstrip("+~"))]
    key, equals, value = word.removeprefix(prefix).partition("=")
    if equals and key in groups:
        before, comma, last = value.rpartition(",")
        yield from (f"{prefix}{key}={before}{comma}{o}" for o in groups[key] if o.startswith(last))
        return
    typed = word.removeprefix(prefix)
    yield from (f"{prefix}{g}=" for g in shown_groups(groups) if g.startswith(typed))
    yield from (f"{prefix}{k}" for k in _keys(groups, words) if k.startswith(typed))


def _search_path(words: list[str]) -> list[str]:
    try:
        return search_path(parse_arguments(words))
    except BadInput:
        return with_project_folders(())


def _keys(groups: Mapping[str, Mapping[str, Option]], words: list[str]) -> Iterator[str]:
    """The keys of the chosen options, as ``key=``."""
    overrides = {k.lstrip("+"): v for k, _, v in (w.partition("=") for w in words)}
    options = (option for group, name in overrides.items() if (option := groups.get(group, {}).get(name)))
    chosen = {**choices_of(groups), **{g: o for option in options for g, o in choices_by(option).items()}, **overrides}
    yield from _leaves(load_yaml((PRIMARY / "config.yaml").read_text(encoding="utf-8")), "")
    for group, name in chosen.items():
        if group != STAGES and (option := groups.get(group, {}).get(name)):
            for part in with_included(option, chosen, groups):
                yield from _leaves(load_yaml(part.text()), part.package)


def _leaves(content: Any, key: str) -> Iterator[str]:
    for name, value in content.items() if isinstance(content, dict) else ():
        below = f"{key}.{name}" if key else str(name)
        if isinstance(value, dict):
            yield from _leaves(value, below)
        elif name not in ("defaults", "_target_"):
            yield f"{below}="
