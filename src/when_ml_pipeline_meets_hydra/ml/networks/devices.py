"""The devices on which networks are trained: which one, what it can compute, and how it computes the same again."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
_FIRST_WITH_BFLOAT16 = 8  # compute capability: Ampere, 2020
_FORKED = ("cuda", "xpu")  # whose random generators PyTorch can save and restore


def device(name: str | None) -> torch.device:
    """Return the device of an option: ``auto``, the number of an accelerator, its name in PyTorch, or None (CPU)."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if name == "auto":
        return found or torch.device("cpu")
    if name and name.isdigit():
        return torch.device(found.type if found else "cuda", int(name))
    return torch.device(name or "cpu")


def missing(name: str) -> str | None:
    """Return why there is no such device; None if there is."""
    try:
        torch.empty(1, device=device(name))
    except (RuntimeError, AssertionError) as problem:
        return f"this machine, or this build of PyTorch, has none ({str(problem).splitlines()[0]})"
    return None


def without_bfloat16(on: torch.device) -> str | None:
    """Return why a device cannot compute in mixed precision; None if it can."""
    # Older cards of NVIDIA emulate them, slowly; "cuda" is also PyTorch's name of AMD's, which all have them.
    if on.type == "cuda" and not torch.version.hip:
        card = torch.cuda.get_device_properties(on)
        if card.major < _FIRST_WITH_BFLOAT16:
            return f"{card.name} has no 16-bit floats of the kind bfloat16"
    try:
        matrix = torch.ones(2, 2, device=on)
        with torch.autocast(on.type, torch.bfloat16):
            computed = matrix @ matrix
    except (RuntimeError, TypeError) as problem:
        return f"{on.type} cannot compute with bfloat16 ({str(problem).splitlines()[0]})"
    return None if computed.dtype == torch.bfloat16 else f"{on.type} does not compute with bfloat16"


@contextmanager
def reproducible(on: torch.device, seed: int, threads: int) -> Iterator[None]:
    """Set the seed, the threads and deterministic algorithms inside the context, and restore them afterwards.

    With the same seed, device, threads and version of PyTorch a training then ends with the same weights. Operations of
    an accelerator that have no deterministic algorithm are used nonetheless, and reported.
    """
    before = torch.get_num_threads()
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([on] if on.type in _FORKED else [], device_type=on.type))
        if on.type != "cpu":
            stack.enter_context(_deterministic())
        set_seed(on, seed)
        torch.set_num_threads(threads)
        stack.callback(torch.set_num_threads, before)
        yield


def set_seed(on: torch.device, seed: int) -> None:
    """Set the seed of the processor, and of the device if it is another one."""
    if on.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


@contextmanager
def _deterministic() -> Iterator[None]:
    # cuBLAS reads it when it is used for the first time in the process.
    os.environ.setdefault(_CUBLAS, ":4096:8")
    before, benchmark = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    filled = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.cudnn.benchmark = False
    torch.utils.deterministic.fill_uninitialized_memory = False  # costs time; training reads no such memory
    try:
        with _exceptions_reported():
            yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = filled
        torch.backends.cudnn.benchmark = benchmark
        torch.set_deterministic_debug_mode(before)


@contextmanager
def _exceptions_reported() -> Iterator[None]:
    """Print which operations are not deterministic, once each, instead of PyTorch's warnings."""
    with warnings.catch_warnings(record=True) as caught:
        yield
    texts = dict.fromkeys(str(w.message).partition(",")[0] for w in caught if _is_exception(w))
    for text in texts:
        print(f"note: another training with this seed may end with other weights: {text}")
    for warning in caught:
        if not _is_exception(warning):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _is_exception(warning: warnings.WarningMessage) -> bool:
    return "deterministic" in str(warning.message)
