"""Binds the stages of one job to calls, with the calls that these need."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from when_ml_pipeline_meets_hydra.binding.bind_cache import BindCache, TrackedConfig
from when_ml_pipeline_meets_hydra.binding.call import Call, content_of, element_name, received_keys
from when_ml_pipeline_meets_hydra.binding.code_version import code_version
from when_ml_pipeline_meets_hydra.binding.keys import (
    chosen_fields,
    implements,
    keyed,
    modules_of,
    nested_options,
    several_fields,
    several_of,
)
from when_ml_pipeline_meets_hydra.binding.mapping import (
    ITSELF,
    Element,
    consulted,
    elements_of,
    job_for,
    of_element,
    unmapped,
)
from when_ml_pipeline_meets_hydra.binding.ops import job_of_op, of_op, unknown_keys
from when_ml_pipeline_meets_hydra.binding.options import qualified, qualified_field, value_of
from when_ml_pipeline_meets_hydra.binding.rules import consulted_by, disagreements, keys_of
from when_ml_pipeline_meets_hydra.binding.secret_keys import named_packages, try_locate
from when_ml_pipeline_meets_hydra.binding.signature import Signature, artifact_kind, each_of, is_artifact, signature_of
from when_ml_pipeline_meets_hydra.binding.targets import allowed_packages, inside, locate_function
from when_ml_pipeline_meets_hydra.composing.job import UNRESOLVED, Job
from when_ml_pipeline_meets_hydra.composing.job_file import ops_of, place_of
from when_ml_pipeline_meets_hydra.composing.tree import HELP, STAGES, Stage, all_before, misplaced
from when_ml_pipeline_meets_hydra.contracts import Artifact, Each, Fingerprinted, Wanted
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem, did_you_mean
from when_ml_pipeline_meets_hydra.masking import Redactor


class Binder:
    """Binds the stages of one job, each once; collects problems. Reuses calls for which equal config keys were read."""

    def __init__(
        self,
        job: Job,
        stages: Mapping[str, Stage],
        problems: list[Problem],
        redactor: Redactor | None = None,
        cache: BindCache | None = None,
        requested: frozenset[str] = frozenset(),
        elements: tuple[Element, ...] = (),
    ) -> None:
        self.job, self.stages, self.problems, self.redactor = job, stages, problems, redactor or Redactor()
        self.allowed = allowed_packages(named_packages(job))
        self.cache = cache or BindCache()
        self.requested, self.elements = requested, elements
        self.mapped: dict[tuple[str, str], Binder] = {}
        self.preceding: set[str] = set()  # stages that are being bound because they precede another one
        self.keys_read: set[str] = set()
        self.calls: dict[str, tuple[Call | None, tuple[str, ...]]] = {}  # with the keys that were read
        self.place = ""  # of the config, in the whole one

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
        cached = self.cache.calls.setdefault((stage, self.requested, *(e.id for e in self.elements)), {})
        for names, calls in cached.items():
            if found := calls.get(self._state(names)):
                self.problems += found[1]
                return found[0], names
        outside, job, before = self.keys_read, self.job, len(self.problems)
        self.keys_read = set()
        self.job = replace(job, config=TrackedConfig(job.config, self.keys_read))
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
        if inner := several_of(hint):
            yield from ((f"{name}.{member}", try_locate(p, self.allowed) or inner) for member, p in node.items())
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
        if (op := self.within(stage)) is self:
            return self._call(stage, found, path)
        call, parameters, config = op._call(stage, found, path), found[1].parameters, ops_of(self.job.config)[stage]
        op.problems += unknown_keys(config, stage, parameters, self.stages, op.job.origins)
        self.problems += (of_op(p, stage, {*config, *parameters}) for p in op.problems)
        return None if op.problems or call is None else replace(call, is_op=True)

    def within(self, stage: str) -> Binder:
        """Return what binds a stage: of a job file, by the part of the config that is its own."""
        config = ops_of(self.job.config).get(stage)
        return self if config is None else _OpBinder(self, stage, config)

    def _call(self, stage: str, found: tuple[Callable[..., Any], Signature], path: tuple[str, ...]) -> Call | None:
        function, signature = found
        before = len(self.problems)
        wrong = misplaced(self.stages[stage], self.stages)
        self.problems += (replace(p, origin=self.job.origins.stage_file(stage)) for p in wrong)
        arguments, needs, prints = self._arguments(stage, signature, path)
        mark = self.redactor.fingerprinted
        if len(self.problems) == before:
            self.problems += disagreements(function, arguments, needs, self.job)
        preceding, consulted_keys = self._preceding(stage, function)
        # A step by itself waits for what precedes the one that needs it.
        needs = {n: replace(c, preceding=preceding) if c.stage == stage else c for n, c in needs.items()}
        if len(self.problems) > before:
            return None
        returns = signature.returns if inspect.isclass(signature.returns) else None
        return Call(
            stage=stage,
            subcommand=self.job.chosen.get(self.stages[stage].group, function.__name__),
            function=function,
            arguments=arguments,
            needs=needs,
            keyed={**{n: keyed(v, self.place + n, mark) for n, v in arguments.items()}, **prints},
            code=code_version({function.__module__, *self._modules(arguments.values())}, function),
            after=all_before(stage, self.stages),
            returns=returns if returns and issubclass(returns, Artifact) else None,
            is_effect=bool(getattr(function, "is_effect", False)),
            element=self._element(stage, arguments, needs),
            preceding=preceding,
            consulted=consulted_keys | consulted_by(signature),
        )

    def is_stage(self, name: str, hint: Any) -> bool:
        """Return whether a parameter receives the artifact of a stage; of two things of one name its type decides."""
        return name in self.stages and (is_artifact(hint) or name not in self.job.config)

    def _element(self, stage: str, arguments: Mapping[str, Any], needs: Mapping[str, Call]) -> str | None:
        """Return the name of the element on which a call depends."""
        keys = received_keys(arguments)
        names = [e.name for e in self.elements if e.key in keys]
        below = (call.element for name, call in needs.items() if not (name.endswith("]") or name == stage))
        return ", ".join(names) or next(filter(None, below), None)

    def _preceding(self, stage: str, function: Callable[..., Any]) -> tuple[tuple[Call, ...], frozenset[str]]:
        """Return the call that precedes a subcommand in its combination, and the config keys that decide about it."""
        rule = getattr(function, "preceding", None)
        if rule is None or self.elements:
            return (), frozenset()
        if stage in self.preceding:
            self._wrong(f"{stage}_sub", f"{stage} is preceded by {rule.stage}, which needs {stage} itself")
            return (), frozenset()
        call = None
        try:
            if rule.when(**consulted(rule.when, self.job, self.allowed)):
                self.preceding.add(stage)
                call = self.call(rule.stage)
                self.preceding.discard(stage)
        except BadInput as error:
            self.problems.extend(error.problems)
        return ((call,) if call else ()), keys_of(rule.when)

    def _is_wanted(self, name: str, mark: Wanted) -> bool:
        """Return whether a parameter marked ``Wanted`` is given: not to elements, nor without the keys of its rule."""
        if self.elements:
            return False
        if mark.or_requested and name in self.requested:
            return True
        has_keys = all(key in self.job.config for key in keys_of(mark.when))
        return has_keys and mark.when(**consulted(mark.when, self.job, self.allowed))

    def _wanted(self, name: str, hint: Any, stage: str) -> Call | None:
        """Return the call whose artifact a parameter marked ``Wanted`` receives."""
        if name in self.preceding:
            self._wrong(f"{stage}_sub", f"{stage} needs {name}, which needs {stage} itself")
            return None
        if name == stage:
            binder = self._for(ITSELF)
            call = binder._artifact(name, hint, ())
            self.problems += binder.problems
            self.keys_read |= binder.keys_read
            return call and replace(call, element=ITSELF.name)
        self.preceding.add(name)
        call = self._artifact(name, hint, (), asked_by=stage)
        self.preceding.discard(name)
        return call

    def _mapped(self, stage: str, hint: Any, each: Each, path: tuple[str, ...]) -> dict[str, Call]:
        """Return the calls of a stage for the elements of a list."""
        calls: dict[str, Call] = {}
        elements = elements_of(each, self.job, self.allowed, self.cache.elements)
        for number, element in enumerate(elements):
            binder = self.mapped.get((element.key, element.id)) or self._for(element)
            if call := binder._artifact(stage, hint, path):
                calls[element_name(stage, number)] = call
            self.problems += [of_element(p, element, self.job) for p in binder.problems]
            binder.problems.clear()
            self.keys_read |= binder.keys_read
        if calls and not self.problems and not any(call.element for call in calls.values()):
            raise BadInput(unmapped(stage, each))
        return calls

    def _for(self, element: Element) -> Binder:
        elements = (*self.elements, element)
        job = job_for(self.job, element)
        binder = Binder(job, self.stages, [], self.redactor, self.cache, elements=elements)
        self.mapped[element.key, element.id] = binder
        return binder

    def _arguments(
        self, stage: str, signature: Signature, path: tuple[str, ...]
    ) -> tuple[dict[str, Any], dict[str, Call], dict[str, str]]:
        arguments: dict[str, Any] = {}
        needs: dict[str, Call] = {}
        prints: dict[str, str] = {}
        for name, hint in signature.parameters.items():
            try:
                if mark := signature.wanted.get(name):
                    if not self._is_wanted(name, mark):
                        continue
                    if self.is_stage(name, hint):
                        if upstream := self._wanted(name, hint, stage):
                            needs[name] = upstream
                        continue
                if self.is_stage(name, hint):
                    if name in signature.defaults and name not in self.requested:
                        continue
                    if each := each_of(hint):
                        needs |= self._mapped(name, hint, each, path)
                    elif upstream := self._artifact(name, hint, path):
                        needs[name] = upstream
                elif name in self.job.config:
                    arguments[name] = value_of(name, hint, self.job, self.allowed)
                    if self.cache.reads_data and implements(arguments[name], Fingerprinted):
                        prints[content_of(name)] = arguments[name].fingerprint()
                elif name not in signature.defaults and self.job.origins.of(name):
                    self._wrong(name, f"a value is needed: {stage} reads it")
                elif name not in signature.defaults and (deleted := self.job.origins.deletion(name)):
                    group, default = deleted
                    leave_out = f"Leave out ~{group}" + (f": the default is {group}={default}" if default else "")
                    self._wrong(group, f"a choice is needed: {stage} reads {name}", leave_out)
                elif name not in signature.defaults and self.job.origins.is_misplaced(name):
                    self._wrong(name, UNRESOLVED)  # the file is reported
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
        modules = chain.from_iterable(map(modules_of, parts))
        return (module for module in modules if inside(module, self.allowed))

    def _artifact(self, stage: str, hint: Any, path: tuple[str, ...], asked_by: str | None = None) -> Call | None:
        call, asking = self.call(stage, path), asked_by or (path[-1] if path else stage)
        hint = artifact_kind(hint)
        if call and not (call.returns and inspect.isclass(hint) and issubclass(call.returns, hint)):
            returned = call.returns.__name__ if call.returns else "nothing"
            self._wrong(
                f"{asking}_sub",
                f"{asking} needs the {getattr(hint, '__name__', hint)} of {stage}, "
                f"but its subcommand '{call.subcommand}' returns {returned}",
                f"Choose another one: {self.stages[stage].group}=…",
            )
        return call


class _OpBinder(Binder):
    """Binds one stage of a job file by the config that it has there; other stages are bound by ``outer``."""

    def __init__(self, outer: Binder, stage: str, config: Mapping[str, Any]) -> None:
        elements = {e.key: e.value for e in outer.elements if e.key}
        job = job_of_op(outer.job, stage, {**config, **elements})
        super().__init__(job, outer.stages, [], outer.redactor, outer.cache, outer.requested, outer.elements)
        self.allowed, self.place, self._outer = outer.allowed, f"{place_of(stage)}.", outer

    def call(self, stage: str, path: tuple[str, ...] = ()) -> Call | None:
        return self._outer.call(stage, path)

    def _for(self, element: Element) -> Binder:
        return self._outer._for(element)
