"""What watching transcripts costs, SQLite rows included: `python benchmarks/sources/watch.py --megabytes 350`.

The daemon's own `watch` stage over a synthetic tree (see claude_code.py), in CPU seconds of one core:

    bytes     reading the files in chunks, nothing else: the limit
    orjson    `orjson.loads` of every line: what a parser without any skips would cost at least
    first     a first look: nodes, edges, judged human turns, episodes and cursors in a new store
    idle      a look at 1,000 files that did not change
    append    a look after one more megabyte of one transcript
    command   `reflexd once --until watch` on the same tree, as a process of its own: wall time, and the most it held
"""

import argparse
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from claude_code import (
    IDLE_FILES,
    cpu_seconds,
    parse_lines,
    read_bytes,
    session_lines,
    spread,
    write_tree,
)

from daemon.child import ModelProcess
from daemon.home import Home
from daemon.pipeline import Context, watch
from daemon.settings import Settings
from store.engine import Store
from store.sources import add_source


class Watched:
    """A store in a folder of its own that watches `tree`."""

    def __init__(self, folder: Path, tree: Path) -> None:
        home = Home(folder / "reflexd.toml", folder / "state")
        self.store = Store.open(home.database)
        with self.store.write() as conn:
            add_source(conn, "claude-code", str(tree), 0)
        self.context = Context(Settings(), home, self.store, ModelProcess(home.log))

    def look(self) -> None:
        """One tick."""
        watch(self.context)

    def count(self, table: str) -> int:
        """Rows of a table."""
        with self.store.read() as conn:
            return int(conn.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


def first_look(tree: Path) -> tuple[float, Watched, Path]:
    """CPU seconds of a first look into a new store."""
    folder = Path(tempfile.mkdtemp(prefix="reflexd-watch-"))
    watched = Watched(folder, tree)
    return cpu_seconds(watched.look), watched, folder


def as_a_command(tree: Path) -> str:
    """Wall seconds and resident MiB of a first look by the command line, in a home of its own."""
    with tempfile.TemporaryDirectory(prefix="reflexd-watch-") as folder:
        reflexd = [sys.executable, "-m", "daemon", "--config", f"{folder}/reflexd.toml"]
        for arguments in (["init", "--dir", folder], ["source", "add", "claude-code", str(tree)]):
            subprocess.run([*reflexd, *arguments], check=True, capture_output=True)
        begin, peak = time.perf_counter(), 0
        with subprocess.Popen([*reflexd, "once", "--until", "watch"], stdout=subprocess.DEVNULL) as child:
            while child.poll() is None:
                peak = held(child.pid) or peak  # what wait4 says includes this process's own size, from before exec
                time.sleep(0.02)
        if child.returncode:
            raise RuntimeError(f"reflexd once ended with {child.returncode}")
        return f"{time.perf_counter() - begin:.1f} s wall, {peak / 1024:.0f} MiB"


def held(pid: int) -> int:
    """The most that a process has held so far, resident kilobytes; 0 once it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


def measure_append(tree: Path, watched: Watched, rounds: int) -> list[float]:
    """CPU seconds of looks after one more megabyte each."""
    target, found = max(tree.rglob("*.jsonl")), []
    for number in range(rounds):
        with target.open("ab") as file:
            file.writelines(session_lines(random.Random(number), f"a{number}", 1_000_000))
        found.append(cpu_seconds(watched.look))
    return found


def measure_idle(rounds: int) -> list[float]:
    """CPU seconds of looks at unchanged files."""
    with tempfile.TemporaryDirectory() as name:
        tree, rng = Path(name), random.Random(3)
        for number in range(IDLE_FILES):
            path = tree / f"-home-dev-src-{number // 20}" / f"i{number:05d}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"".join(session_lines(rng, path.stem, 2_000)))
        _, watched, folder = first_look(tree)
        found = [cpu_seconds(watched.look) for _ in range(rounds)]
        shutil.rmtree(folder)
    return found


def main() -> None:
    """Write the tree, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=64, help="size of the tree (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved rounds (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        write_tree(tree, arguments.megabytes * 1_000_000)
        size = sum(path.stat().st_size for path in tree.rglob("*.jsonl"))
        rates: dict[str, list[float]] = {"bytes": [], "orjson": [], "first": []}
        for _ in range(arguments.rounds):
            rates["bytes"].append(cpu_seconds(lambda: read_bytes(tree)))
            rates["orjson"].append(cpu_seconds(lambda: parse_lines(tree)))
            seconds, watched, folder = first_look(tree)
            rates["first"].append(seconds)
            last = (watched, folder)
        rows = {table: watched.count(table) for table in ("node", "edge", "episode")}
        python = sys.version.split()[0]
        print(f"{size / 1e6:.0f} MB in {len(list(tree.rglob('*.jsonl')))} files; {rows}; Python {python}")
        for way, found in rates.items():
            print(f"{way:8}{spread([size / 1e6 / value for value in found], '.0f')} MB/s")
        print(f"command {as_a_command(tree)}")
        shares = [s / statistics.median(rates["first"]) * 100 for s in measure_append(tree, last[0], arguments.rounds)]
        print(f"append  {spread(shares, '.2f')} % of the first look, {1e8 / size:.2f} % of the bytes")
    idle = measure_idle(max(5, arguments.rounds))
    print(f"idle    {spread([seconds * 1000 for seconds in idle], '.1f')} ms for {IDLE_FILES:,} files")


if __name__ == "__main__":
    main()
