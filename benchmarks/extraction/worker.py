"""One system in a process of its own: loads a model once, then does what it is told, a JSON line at a time.

    ← {"loaded": MiB}                                          resident, once the model is there
    → {"call": "extract", "arguments": {…}, "out": "FILE"}     `out` is where an array goes, or null
    ← {"answer": …, "usage": {"cpu", "wall", "before", "peak"}}

What a system prints goes to standard error.
"""

import argparse
import importlib
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from usage import measured, resident


def main() -> None:
    """Answer until the input ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("system", help="a module of the folder systems")
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    import torch

    torch.set_num_threads(arguments.threads)
    system = importlib.import_module(f"systems.{arguments.system}").System(arguments.model, arguments.threads)
    print(json.dumps({"loaded": resident("VmRSS")}), file=answers)
    for line in sys.stdin:
        told = json.loads(line)
        call = getattr(system, told["call"])
        given = told["arguments"]
        answer, usage = measured(lambda call=call, given=given: call(**given))
        if isinstance(answer, np.ndarray):
            np.save(told["out"], answer)
            answer = None
        print(json.dumps({"answer": answer, "usage": asdict(usage)}), file=answers)


if __name__ == "__main__":
    main()
