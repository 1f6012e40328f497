"""Importing torch and transformers, without what a process has no use for.

They make a million objects, of which none is garbage: Python need not look through them. Measured on an AMD EPYC: a backend's imports
took 8.3 CPU seconds, and 7.2 in `heavy_imports`.
A process that computes with models, and trains none, also does without torch's compiler, torch.distributed and scipy: 1,250 modules,
a second and 80 MB (`lean_imports`, `without_compiler`).
"""

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"
_MARKS = ("allow_in_graph", "assume_constant_result", "disable")  # its decorators for functions that a compilation meets


@contextmanager
def heavy_imports() -> Iterator[None]:
    """Python looks for no garbage in here, and later among what was made later only."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@contextmanager
def lean_imports() -> Iterator[None]:
    """The same for a process that trains nothing: what loads models is imported first, without what only a training needs."""
    with heavy_imports():
        if "transformers.modeling_utils" not in sys.modules:
            _import_transformers()
        yield


@contextmanager
def without_compiler() -> Iterator[None]:
    """torch's compiler is not imported in here only to mark functions that are not to be compiled, which stay without a mark.

    torch 2.13 does so the first time that it makes a model, and transformers 5.23 when it is imported. It changes nothing in a process that
    has imported it before. A torch and a transformers that import it when they compile end this.
    """
    if _COMPILER in sys.modules:
        yield
        return
    stand_in = sys.modules[_COMPILER] = _NoCompiler()
    try:
        yield
    finally:
        if sys.modules[_COMPILER] is stand_in:
            del sys.modules[_COMPILER]


def _import_transformers() -> None:
    """Imports what transformers loads models with.

    transformers 5.23 imports torch.distributed, for models that several GPUs share, and scipy, for losses of object detection, if they are
    there. Here they are not. A release that imports them when they are used ends this.
    """
    distributed = import_module("torch.distributed")
    is_available, hides_scipy = distributed.is_available, "scipy" not in sys.modules
    if hides_scipy:
        sys.modules["scipy"] = None  # type: ignore[assignment]  # to importlib, what is not installed
    distributed.__dict__["is_available"] = lambda: False
    try:
        with without_compiler():
            for module in ("transformers.modeling_utils", "transformers.masking_utils"):
                import_module(module)
    finally:
        distributed.__dict__["is_available"] = is_available
        if hides_scipy:
            del sys.modules["scipy"]


class _NoCompiler(ModuleType):
    """In the place of torch's compiler: gives functions back unmarked, and makes way for it if anything else is asked for."""

    def __init__(self) -> None:
        super().__init__(_COMPILER)
        self.__path__ = [str(Path(str(sys.modules["torch"].__file__)).parent / "_dynamo")]  # of the one module that a mask needs

    def __getattr__(self, name: str) -> Any:
        if name in _MARKS:
            return _unmarked
        if name.startswith("__"):
            raise AttributeError(name)
        if sys.modules[_COMPILER] is self:
            del sys.modules[_COMPILER]
        return getattr(import_module(_COMPILER), name)


def _unmarked(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Callable[..., Any]:
    return function if function is not None else _unmarked
