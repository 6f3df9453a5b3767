"""Where a model computes: the processor, or a CUDA GPU that torch sees."""

import re

import torch

from daemon.errors import UnavailableError, UsageError

_NAME = re.compile(r"(auto|cpu|cuda(?::(?P<number>[0-9]{1,3}))?)")


def find_device(name: str) -> torch.device:
    """The device of that name; "auto" is the first CUDA GPU, or the processor where torch sees none.

    Raises:
        UsageError: There is no such name.
        UnavailableError: The device was asked for and is not there.
    """
    named = _NAME.fullmatch(name)
    if named is None:
        raise UsageError(f"device {name!r}: no such device; give auto, cpu, cuda or cuda:N")
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not seen):
        return torch.device("cpu")
    number = int(named["number"] or 0)
    if number >= seen:
        raise UnavailableError(
            f"device {name}: torch {torch.__version__} sees {seen or 'no'} CUDA GPU{'s' if seen > 1 else ''} here; set "
            "process.device (or --device) to auto or cpu, or install the driver and a torch built for CUDA"
        )
    return torch.device("cuda", number)
