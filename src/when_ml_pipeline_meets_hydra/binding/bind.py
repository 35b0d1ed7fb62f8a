"""Bind configs to typed calls, a function with validated arguments each; report all errors of all jobs at once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

from when_ml_pipeline_meets_hydra.binding.call import DATA, Bound, Call
from when_ml_pipeline_meets_hydra.binding.code_version import code_version
from when_ml_pipeline_meets_hydra.binding.hydra_targets import hydra_problems
from when_ml_pipeline_meets_hydra.binding.keys import chosen_fields, implements, keyed, nested_options, several_fields
from when_ml_pipeline_meets_hydra.binding.objective import complete
from when_ml_pipeline_meets_hydra.binding.options import qualified, qualified_field, unused_choices, value_of
from when_ml_pipeline_meets_hydra.binding.secret_keys import find_secrets, named_packages, try_locate
from when_ml_pipeline_meets_hydra.binding.settings import settings_of
from when_ml_pipeline_meets_hydra.binding.signature import Signature, artifact_kind, signature_of
from when_ml_pipeline_meets_hydra.binding.targets import allowed_packages, inside, locate_function
from when_ml_pipeline_meets_hydra.composing.job import UNRESOLVED, Composed, Job
from when_ml_pipeline_meets_hydra.composing.tree import HELP, STAGES, Stage, all_before, misplaced
from when_ml_pipeline_meets_hydra.contracts import Artifact, Fingerprinted
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean, merged
from when_ml_pipeline_meets_hydra.masking import Redactor


def bind(composed: Composed) -> Bound:
    """Bind every job to the call of its stage, and validate the settings of the run.

    Raises ``BadInput`` with all problems of all jobs.
    """
    settings, wrong_settings = settings_of(composed)
    composed = replace(composed, problems=(*composed.problems, *wrong_settings))
    problems: list[Problem] = []
    keys, redactor = find_secrets(composed)
    reported = {(p.key, n) for p in composed.problems for n in p.jobs or [job.number for job in composed.jobs]}
    if composed.jobs:
        first = composed.jobs[0]
        allowed = allowed_packages(named_packages(first))
        problems += hydra_problems(composed.hydra, allowed, first.origins.of)
    cache: _BindCache = {}
    bound = []
    requested: dict[tuple[str, ...], set[str]] = {}
    for job in composed.jobs:
        requested.setdefault(job.combination, set()).add(job.stage)
    for job in composed.jobs:
        wrong: list[Problem] = []
        binder = _Binder(job, composed.stages, wrong, redactor, cache, frozenset(requested[job.combination]))
        bound.append((job, binder.call(job.stage)))
        problems += (replace(p, jobs=(job.number,)) for p in wrong if (p.key, job.number) not in reported)
    # Consequences of an override that was dropped are not reported.
    new = [p for p in problems if p.key.partition(".")[0] not in composed.invalid_choices]
    found = [*composed.problems, *(new or ([] if composed.problems else problems))]
    if found := [p for p in found if p.message != UNRESOLVED] or found:
        raise BadInput(*merged((p.masked(partial(redactor.at, p.key)) for p in found), len(composed.jobs)))
    assert settings is not None, "problems with the settings were raised"
    calls = tuple((job, call) for job, call in bound if call)
    result = Bound(calls=calls, settings=settings, secret_keys=keys, redactor=redactor, foreign=composed.foreign)
    if unused := list(unused_choices(composed, result.received)):
        raise BadInput(*unused)
    objective, wrong_objective = complete(settings.objective, result.all_calls)
    if wrong_objective:
        raise BadInput(*(replace(p, origin=composed.jobs[0].origins.of(p.key)) for p in wrong_objective))
    return replace(result, settings=replace(settings, objective=objective))


def content_of(name: str) -> str:
    """Return the name under which the fingerprint of an option's data stands in the inputs of a step."""
    return f"{name}{DATA}"


@dataclass(frozen=True, kw_only=True)
class Description:
    """Inputs of a subcommand: config keys with their types, and artifacts of other stages."""

    summary: str
    keys: Mapping[str, Any]
    artifacts: Mapping[str, str]


def describe(job: Job, stages: Mapping[str, Stage]) -> Description:
    """Describe the inputs of the job's subcommand; values are not validated. Raises ``BadInput``."""
    problems: list[Problem] = []
    binder = _Binder(job, stages, problems)
    if (found := binder.function(job.stage)) is None:
        raise BadInput(*problems)
    function, signature = found
    doc = inspect.getdoc(function) or ""
    hints = {n: h for n, h in signature.parameters.items() if n not in stages}
    hints |= {n: h for name, hint in hints.items() for n, h in chosen_fields(binder.wanted(name, hint)).items()}
    keys = {n: binder.wanted(n, h) for n, h in hints.items()}
    artifacts = {n: artifact_kind(h) for n, h in signature.parameters.items() if n in stages}
    return Description(
        summary=doc.partition("\n")[0],
        keys=keys | {n: k for key, hint in keys.items() for n, k in binder.members(key, hint)},
        artifacts={n: getattr(h, "__name__", str(h)) for n, h in artifacts.items()},
    )


# Results of earlier jobs: stage and the stages requested in its combination → the config keys that were read → their
# values → the call and its problems.
_BindResult = tuple["Call | None", tuple[Problem, ...]]
_BindCache = dict[tuple[str, frozenset[str]], dict[tuple[str, ...], dict[tuple[Any, ...], _BindResult]]]


class _TrackedConfig(Mapping[str, Any]):
    """A job's config that records which of its keys are read."""

    def __init__(self, config: Mapping[str, Any], at: set[str]) -> None:
        self._config, self._at = config, at

    def __getitem__(self, key: str) -> Any:
        self._at.add(key)
        return self._config[key]

    def __contains__(self, key: object) -> bool:
        self._at.add(str(key))
        return key in self._config

    def __iter__(self) -> Iterator[str]:
        return iter(self._config)

    def __len__(self) -> int:
        return len(self._config)


class _Binder:
    """Binds the stages of one job, each once; collects problems instead of raising them.

    The call of another job is reused if all config keys that were read for it have identical values.
    """

    def __init__(
        self,
        job: Job,
        stages: Mapping[str, Stage],
        problems: list[Problem],
        redactor: Redactor | None = None,
        cache: _BindCache | None = None,
        requested: frozenset[str] = frozenset(),
    ) -> None:
        self.job, self.stages, self.problems, self.redactor = job, stages, problems, redactor or Redactor()
        self.allowed = allowed_packages(named_packages(job))
        self.cache = {} if cache is None else cache
        self.requested = requested
        self.keys_read: set[str] = set()
        self.calls: dict[str, tuple[Call | None, tuple[str, ...]]] = {}  # with the keys that were read

    def call(self, stage: str, path: tuple[str, ...] = ()) -> Call | None:
        """Return the call of ``stage``, with the calls that it needs; None if there was a problem."""
        if stage not in self.calls:
            if stage in path:
                self._wrong(f"{stage}_sub", f"needs its own result: {' → '.join([*path, stage])}")
                return None
            self.calls[stage] = self._cached_call(stage, (*path, stage))
        call, names = self.calls[stage]
        self.keys_read |= set(names)  # also for a cached call: the dependent stage depends on them as well
        return call

    def _cached_call(self, stage: str, path: tuple[str, ...]) -> tuple[Call | None, tuple[str, ...]]:
        cached = self.cache.setdefault((stage, self.requested), {})
        for names, calls in cached.items():
            if found := calls.get(self._state(names)):
                self.problems += found[1]
                return found[0], names
        outside, job, before = self.keys_read, self.job, len(self.problems)
        self.keys_read = set()
        self.job = replace(job, config=_TrackedConfig(job.config, self.keys_read))
        call = self._bind(stage, path)
        names, self.job = tuple(sorted(self.keys_read)), job
        cached.setdefault(names, {})[self._state(names)] = call, tuple(self.problems[before:])
        self.keys_read = outside
        return call, names

    def _state(self, names: Iterable[str]) -> tuple[Any, ...]:
        config, faults = self.job.config, self.job.faults
        state = [id(config.get(name)) for name in names]
        wrong = tuple(item for item in faults.items() if re.split(r"[.\[]", item[0])[0] in names) if faults else ()
        return (*state, wrong, *(self.job.chosen.get(f"{STAGES}/{n}") for n in names if n.endswith("_sub")))

    def _wrong(self, key: str, message: str, remedy: str | None = None) -> None:
        origin = self.job.origins.of(f"{key}._target_") or self.job.origins.of(key)
        self.problems.append(Problem(key=key, message=message, origin=origin, remedy=remedy))

    def wanted(self, name: str, hint: Any) -> Any:
        """Return the type of a config key: its ``_target_``, otherwise the annotation."""
        return try_locate(self.job.config.get(name), self.allowed) or hint

    def members(self, name: str, hint: Any) -> Iterator[tuple[str, Any]]:
        """Yield the named options inside a config key, each with its type."""
        node: Any = self.job.config.get(name) or {}
        for inside_of, inner in several_fields(hint).items():
            for member, part in (node.get(inside_of) or {}).items():
                yield f"{name}.{inside_of}.{member}", try_locate(part, self.allowed) or inner

    def function(self, stage: str) -> tuple[Callable[..., Any], Signature] | None:
        """Return the function of a stage's subcommand with its signature; None if there was a problem."""
        if stage == HELP:
            stages = ", ".join(self.stages)
            self.problems.append(Problem(key="c", message="no stage is chosen", remedy=f"Add c=… with one of {stages}"))
            return None
        if stage not in self.stages:
            self._wrong("c", f"'{stage}' is no stage that can run", did_you_mean(stage, self.stages))
            return None
        key = f"{stage}_sub"
        node = self.job.config.get(key)
        if not isinstance(node, dict) or "_target_" not in node:
            group = self.stages[stage].group
            if group in self.job.chosen:
                self._wrong(key, "the subcommand's file names no function", "Add _target_: package.module.function")
            else:
                remedy = f"Choose one ({group}=…), or name the default in the stage's file (subcommand: …)"
                self._wrong(group, "no subcommand is chosen, and the stage has no default", remedy)
            return None
        try:
            function = locate_function(node["_target_"], self.allowed, key=key, origin=self.job.origins.of)
            return function, signature_of(function)
        except BadInput as error:
            self.problems.extend(error.problems)
        return None

    def _bind(self, stage: str, path: tuple[str, ...]) -> Call | None:
        if (found := self.function(stage)) is None:
            return None
        function, signature = found
        before = len(self.problems)
        wrong = misplaced(self.stages[stage], self.stages)
        self.problems += (replace(p, origin=self.job.origins.stage_file(stage)) for p in wrong)
        arguments, needs, prints = self._arguments(stage, signature, path)
        if len(self.problems) == before:
            self.problems += _disagreements(function, arguments, needs, self.job)
        if len(self.problems) > before:
            return None
        returns = signature.returns if inspect.isclass(signature.returns) else None
        return Call(
            stage=stage,
            subcommand=self.job.chosen.get(self.stages[stage].group, function.__name__),
            function=function,
            arguments=arguments,
            needs=needs,
            keyed={**{n: keyed(v, n, self.redactor.fingerprinted) for n, v in arguments.items()}, **prints},
            code=code_version({function.__module__, *self._modules(arguments.values())}, function),
            after=all_before(stage, self.stages),
            returns=returns if returns and issubclass(returns, Artifact) else None,
            is_effect=bool(getattr(function, "is_effect", False)),
        )

    def _arguments(
        self, stage: str, signature: Signature, path: tuple[str, ...]
    ) -> tuple[dict[str, Any], dict[str, Call], dict[str, str]]:
        arguments, needs, prints = {}, {}, {}
        for name, hint in signature.parameters.items():
            try:
                if name in self.stages and name in signature.defaults and name not in self.requested:
                    continue
                if name in self.stages:
                    if upstream := self._artifact(name, hint, path):
                        needs[name] = upstream
                elif name in self.job.config:
                    arguments[name] = value_of(name, hint, self.job, self.allowed)
                    if implements(arguments[name], Fingerprinted):
                        prints[content_of(name)] = arguments[name].fingerprint()
                elif name not in signature.defaults and self.job.origins.of(name):
                    self._wrong(name, f"a value is needed: {stage} reads it")
                elif name not in signature.defaults and (deleted := self.job.origins.deletion(name)):
                    group, default = deleted
                    leave_out = f"Leave out ~{group}" + (f": the default is {group}={default}" if default else "")
                    self._wrong(group, f"a choice is needed: {stage} reads {name}", leave_out)
                elif name not in signature.defaults:
                    remedy = self.job.origins.header_fix(name) or did_you_mean(name, [*self.job.config, *self.stages])
                    self._wrong(f"{stage}_sub", f"its parameter '{name}' is neither a config key nor a stage", remedy)
            except BadInput as error:
                kind: Any = type(arguments.get(name))
                own, known = chosen_fields(kind), name in arguments
                self.problems.extend(qualified_field(name, own, p, self.job) if known else p for p in error.problems)
            except OSError as error:
                self.problems.append(qualified(name, Problem(key="", message=f"cannot be read ({error})"), self.job))
        return arguments, needs, prints

    def _modules(self, options: Iterable[Any]) -> Iterator[str]:
        """Yield the modules of the options' classes and of their base classes."""
        parts = chain.from_iterable(map(nested_options, options))
        modules = (cls.__module__ for part in parts for cls in type(part).__mro__)
        return (module for module in modules if inside(module, self.allowed))

    def _artifact(self, stage: str, hint: Any, path: tuple[str, ...]) -> Call | None:
        call = self.call(stage, path)
        hint = artifact_kind(hint)
        if call and not (call.returns and inspect.isclass(hint) and issubclass(call.returns, hint)):
            returned = call.returns.__name__ if call.returns else "nothing"
            self._wrong(
                f"{path[-1]}_sub",
                f"{path[-1]} needs the {getattr(hint, '__name__', hint)} of {stage}, "
                f"but its subcommand '{call.subcommand}' returns {returned}",
                f"Choose another one: {self.stages[stage].group}=…",
            )
        return call


def _disagreements(
    function: Callable[..., Any], arguments: Mapping[str, Any], needs: Mapping[str, Call], job: Job
) -> Iterator[Problem]:
    """Check a subcommand's rule (``agreed``) with its arguments and those of the calls that it needs."""
    if rule := getattr(function, "rule", None):
        known = {n: v for call in needs.values() for n, v in call.arguments.items()} | {**arguments}
        for problem in rule(**{n: known.get(n) for n in inspect.signature(rule).parameters}):
            yield replace(problem, origin=problem.origin or job.origins.of(problem.key))
