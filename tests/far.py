"""A second device that is not there: its tensors lie in the processor's memory, but never meet those of the CPU.

An operation on tensors of both devices fails, as it does on a GPU (indices are no exception here); copies alone cross.
Results are the CPU's own, bit for bit, so whatever runs through this can be compared with what ran without. It shows
that everything is brought to the device and back. It does not show that a GPU computes the same.
"""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import arg_tree_leaves, tree_map_only

FAR = torch.device("meta")  # autograd and the device guards of torch know it without any driver
CPU = torch.device("cpu")
_COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)


class FarTensor(Tensor):
    """A tensor on the far device; `near` is what it holds."""

    near: Tensor

    @staticmethod
    def __new__(cls, near: Tensor) -> "FarTensor":
        made = Tensor._make_wrapper_subclass(
            cls,
            near.shape,
            strides=near.stride(),
            storage_offset=near.storage_offset(),
            dtype=near.dtype,
            device=FAR,
        )
        made.near = near
        return made

    def tolist(self) -> Any:
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class FarDevice(TorchDispatchMode):
    """While in here, tensors can be made on `FAR` and taken there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if FarTensor not in types and kwargs.get("device") in (None, CPU):
            return func(*args, **kwargs)  # nothing of it is far
        return _run(func, args, kwargs)


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [each for each in arg_tree_leaves(*args, **kwargs) if isinstance(each, Tensor)]
    far = [each for each in tensors if isinstance(each, FarTensor)]
    near = [each for each in tensors if not isinstance(each, FarTensor) and each.ndim]
    if far and near and func not in _COPIES:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, found {FAR} and cpu")
    target = kwargs.get("device")
    kwargs = kwargs | ({"device": torch.device("cpu")} if target is not None else {})
    near_args, near_kwargs = tree_map_only(FarTensor, lambda each: each.near, (args, kwargs))
    made = func(*near_args, **near_kwargs)
    if func._schema.name.endswith("_") and isinstance(args[0], Tensor):
        return args[0]
    to_far = bool(far) if target is None else torch.device(target) == FAR
    return tree_map_only(Tensor, FarTensor, made) if to_far else made
