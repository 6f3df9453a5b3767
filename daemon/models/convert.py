"""`python -m daemon.models.convert --gguf FILE --out FOLDER`: the process that turns GGUF into float32 safetensors.

It says how far it is in JSON lines, `{"progress": {...}}`, and what went wrong in a last one, `{"error": {...}}`. It
dies with whoever started it: a thread waits for standard input to close. The only place here that imports torch.
"""

import argparse
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from daemon.durable import fsync_tree
from daemon.errors import DataError, ReflexdError
from daemon.protocol import Progress

Say = Callable[[Progress], None]


def convert(gguf: Path, out: Path, say: Say) -> None:
    """Write the model and tokenizer of `gguf` into the new folder `out`, every file fsynced.

    Raises:
        DataError: transformers does not know the architecture, the file is torn, or weights are not finite.
        OSError: The disk is full.
    """
    say(Progress(stage="convert", done=0, total=0, note="loading transformers"))
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, modeling_gguf_pytorch_utils

    _count_tensors(modeling_gguf_pytorch_utils, say)
    try:
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    except Exception as error:
        if _is_storage_fault(error):
            raise
        raise DataError(
            f"{gguf}: cannot be converted: {_one_line(error)}; use a model that transformers can read"
        ) from error
    broken = [name for name, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if broken:
        raise DataError(f"{gguf}: {broken[0]} holds NaN or infinity; download the file again")
    say(Progress(stage="write", done=0, total=0, note=f"{model.num_parameters() / 1e6:.0f} M parameters as float32"))
    _forget_quantisation(model)
    out.mkdir(parents=True)
    model.save_pretrained(out)
    tokenizer.init_kwargs.pop("local_files_only", None)  # how it was read here is no property of the tokenizer
    tokenizer.save_pretrained(out)
    fsync_tree(out)


def _forget_quantisation(model: Any) -> None:
    """The weights are float32 by now, but transformers refuses to save what it still holds for quantised."""
    model.is_quantized = False
    model.hf_quantizer = None
    model.config._name_or_path = ""  # a path of this machine has no place in a model
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


def _count_tensors(module: Any, say: Say) -> None:
    """Turn the loader's own progress bar into our progress, where it has one."""
    if not hasattr(module, "tqdm"):
        return

    def counted(tensors: Iterable[Any], **_: object) -> Iterator[Any]:
        known = list(tensors)
        for done, tensor in enumerate(known):
            say(Progress(stage="convert", done=done, total=len(known), note="tensors to float32"))
            yield tensor

    module.tqdm = counted


def _is_storage_fault(error: BaseException) -> bool:
    text = str(error)
    return (isinstance(error, OSError) and error.errno is not None) or "No space left" in text or "os error 28" in text


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _failure(error: BaseException, out: Path) -> dict[str, object]:
    if isinstance(error, ReflexdError):
        return {"message": str(error), "exit_code": error.exit_code}
    if _is_storage_fault(error):
        return {"message": f"{out}: cannot be written: {_one_line(error)}; make room and run it again", "exit_code": 74}
    return {"message": f"{out}: the conversion failed: {_one_line(error)}", "exit_code": 70}


def _die_with_the_caller() -> None:
    while os.read(0, 4096):  # not sys.stdin: its lock, held by this thread, would abort the interpreter's exit
        pass
    os._exit(1)


def main() -> int:
    """Convert once; the exit code is that of sysexits."""
    parser = argparse.ArgumentParser(prog="python -m daemon.models.convert")
    parser.add_argument("--gguf", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    os.environ.update({"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"})
    own = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever libraries print goes to standard error
    threading.Thread(target=_die_with_the_caller, daemon=True).start()

    def say(step: Progress) -> None:
        own.write(orjson.dumps({"progress": step.model_dump(mode="json")}) + b"\n")

    try:
        convert(arguments.gguf, arguments.out, say)
    except Exception as error:  # noqa: BLE001 - the border of the process: each fault becomes one line
        traceback.print_exc()
        failure = _failure(error, arguments.out)
        own.write(orjson.dumps({"error": failure}) + b"\n")
        return int(str(failure["exit_code"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
