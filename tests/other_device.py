"""A device that is not the CPU, simulated: it computes on the CPU, reports itself as "mps" and has no float64.

An operation that has tensors of the device among its arguments, or that makes tensors on it, is run on CPU tensors inside.
As on a GPU, a tensor of the device cannot be read as an array, so code that forgets to move it to the CPU fails.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, Self
from unittest import mock

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("mps")
# For torch itself the device is "meta", the only one besides the CPU that every build of torch has.
META, CPU = torch.device("meta"), torch.device("cpu")


class OtherTensor(Tensor):
    """A tensor of the simulated device; `inner` is on the CPU."""

    inner: Tensor

    def __new__(cls, inner: Tensor) -> Self:
        """Wrap a tensor of the CPU."""
        if inner.dtype == torch.float64:
            raise TypeError("the simulated device has no float64")
        made: Self = Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), dtype=inner.dtype, device=META
        )
        made.inner = inner
        return made

    @property
    def device(self) -> torch.device:
        """Report the simulated device."""
        return DEVICE

    def __repr__(self, *, tensor_contents: None = None) -> str:
        """Return the class and the values."""
        return f"OtherTensor({self.inner!r})"

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation that has such a tensor among its arguments."""
        return _run(function, args, kwargs or {})


class _Names(TorchFunctionMode):
    """Replaces the simulated device by "meta" in the arguments of torch's functions."""

    def __torch_function__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def rename(value: Any) -> Any:
            return META if isinstance(value, torch.device) and value == DEVICE else value

        return function(*tree_map(rename, args), **tree_map(rename, kwargs or {}))


class _Factories(TorchDispatchMode):
    """Runs operations that make tensors on the device."""

    def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(function, args, kwargs or {})


class _Generator(torch.Generator):
    """A generator of random numbers for the device; it is on the CPU."""

    def __new__(cls, _device: object = None) -> Self:
        """Make one, whatever the device."""
        return super().__new__(cls)


def _run(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    # What an operation changes in place is returned as the tensor that was given.
    given = {id(value.inner): value for value in tree_leaves((args, kwargs)) if isinstance(value, OtherTensor)}
    target = kwargs.get("device")
    on_device = bool(given) if target is None else torch.device(target) == META

    def unwrap(value: Any) -> Any:
        if isinstance(value, OtherTensor):
            return value.inner
        return CPU if isinstance(value, torch.device) and value == META else value

    def wrap(value: Any) -> Any:
        if not isinstance(value, Tensor) or isinstance(value, OtherTensor):
            return value
        return given[id(value)] if id(value) in given else OtherTensor(value)

    result = function(*tree_map(unwrap, args), **tree_map(unwrap, kwargs))
    return tree_map(wrap, result) if on_device else result


@contextmanager
def other_device() -> Iterator[torch.device]:
    """Give torch the simulated device, which is returned, in this thread and in those of every pool."""
    submit = ThreadPoolExecutor.submit

    def submit_with_modes(
        pool: ThreadPoolExecutor, work: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> "Future[Any]":
        def run() -> Any:
            with _Factories(), _Names():
                return work(*args, **kwargs)

        return submit(pool, run)

    with ExitStack() as stack:
        for owner, name, value in (
            (torch.backends.mps, "is_available", lambda: True),
            (torch, "Generator", _Generator),
            (ThreadPoolExecutor, "submit", submit_with_modes),
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        stack.enter_context(_Factories())
        stack.enter_context(_Names())
        yield DEVICE
