"""The peers in an environment of their own, since they want another numpy: `environment.py FOLDER` makes it.

torch, transformers, tokenizers and safetensors are the versions of the project's constraints.txt, so that every system
runs on the same kernels.
"""

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SHARED = ("torch", "transformers", "tokenizers", "safetensors", "huggingface_hub")
WITHOUT_DEPENDENCIES = ("steering-vectors",)


def pins() -> list[str]:
    """`name==version` of everything that is pinned: the peers' own, and what they share with the project."""
    own = _lines(HERE / "peers.txt")
    shared = [line for line in _lines(HERE.parents[1] / "constraints.txt") if line.split("==")[0] in SHARED]
    return [*own, *shared]


def peer_python(folder: Path) -> Path:
    """The interpreter of the peers' environment in `folder`, which is made if it is missing or has other pins."""
    python, seal = folder / "bin" / "python", folder / "pins.txt"
    wanted = "\n".join(pins()) + "\n"
    if seal.exists() and seal.read_text() == wanted:
        return python
    print(f"making the peers' environment in {folder}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    constraints = folder / "constraints.txt"
    constraints.write_text(wanted)
    apart = [pin for pin in pins() if pin.split("==")[0] in WITHOUT_DEPENDENCIES]
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--constraint", constraints]
    subprocess.run([*pip, *(pin for pin in pins() if pin not in apart)], check=True, stdout=sys.stderr)
    subprocess.run([*pip, "--no-deps", *apart], check=True, stdout=sys.stderr)
    seal.write_text(wanted)
    return python


def _lines(path: Path) -> list[str]:
    """The lines that are no remarks."""
    return [line.strip() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]


if __name__ == "__main__":
    print(peer_python(Path(sys.argv[1])))
