"""How fast Claude Code transcripts are read: `python benchmarks/sources/claude_code.py --megabytes 350`.

Writes a tree of transcripts with text of its own in the size mix of real ones (a line of 3.7 KB on average, 2 % human
turns, 32 % progress records), then measures, interleaved in rounds, CPU seconds of one core:

    bytes      reading the files in chunks, nothing else
    orjson     `orjson.loads` of every line
    source     `ClaudeCodeSource.read` from nothing, every batch handed to the sink
    idle       a look at 1,000 files that did not change
    append     a look after one more megabyte, as a share of the first read

Other sinks can be given to `measure`: a sink takes a batch and may store it.
"""

import argparse
import random
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from graph.sources.base import Batch, Cursor
from graph.sources.claude_code import ClaudeCodeSource

Sink = Callable[[Batch], None]
Record = dict[str, Any]

PAGE = (
    "the queue keeps a lease for every task so that a worker which dies gives it back after a while and another one\n"
    "takes it up again; we read the row in one transaction, bump its token, write the result only if the token is\n"
    'still ours, and log whatever was thrown away.\n\n```go\nif err := store.Renew(ctx, lease, "token"); err != nil {\n'
    '\t\treturn fmt.Errorf("renew \\"%s\\": %w", lease.ID, err)\n\t}\n```\n'
)
WORDS = PAGE.split(" ")
SESSION_BYTES = 1_300_000
IDLE_FILES = 1_000


def prose(rng: random.Random, size: int) -> str:
    """About `size` characters."""
    page = " ".join(rng.choices(WORDS, k=400))
    return (page * (size // len(page) + 1))[:size]


@dataclass
class Author:
    """Writes the records of one session, in the order of keys that the harness uses."""

    rng: random.Random
    session: str
    count: int = 0
    message: int = 0
    parent: str | None = None
    calls: list[str] = field(default_factory=list)

    def _envelope(self) -> Record:
        return {
            "parentUuid": self.parent, "isSidechain": False, "userType": "external", "cwd": "/home/dev/src/queue",
            "sessionId": self.session, "version": "2.1.14", "gitBranch": "main", "slug": "calm-tidy-otter",
        }  # fmt: skip

    def _stamp(self) -> Record:
        self.count += 1
        self.parent = f"{self.session}-{self.count:08d}"
        minutes, seconds = divmod(self.count, 60)
        return {"uuid": self.parent, "timestamp": f"2026-03-{1 + minutes // 1440 % 28:02d}T"
                f"{minutes // 60 % 24:02d}:{minutes % 60:02d}:{seconds:02d}.000Z"}  # fmt: skip

    def human(self) -> Record:
        content = prose(self.rng, self.rng.randint(20, 900))
        return {**self._envelope(), "type": "user", "message": {"role": "user", "content": content}, **self._stamp()}

    def interrupt(self) -> Record:
        content = [{"type": "text", "text": "[Request interrupted by user for tool use]"}]
        return {**self._envelope(), "type": "user", "message": {"role": "user", "content": content}, **self._stamp()}

    def agent(self) -> Record:
        rng = self.rng
        self.message += rng.random() < 0.5
        kind = rng.choices(("thinking", "text", "tool_use"), (3, 2, 6))[0]
        block: Record = {"type": kind}
        if kind == "thinking":
            block |= {"thinking": "", "signature": f"{rng.getrandbits(8_000):x}"}
        elif kind == "text":
            block |= {"text": prose(rng, rng.randint(60, 2_000))}
        else:
            self.calls.append(f"toolu_{self.session}_{self.count}")
            size = rng.choice((80, 200, 400, 9_000))
            block |= {"id": self.calls[-1], "name": "Edit", "input": {"file_path": "a.go", "new": prose(rng, size)}}
        usage = {"input_tokens": 8, "cache_creation_input_tokens": 2121, "cache_read_input_tokens": 136958,
                 "cache_creation": {"ephemeral_5m_input_tokens": 2121, "ephemeral_1h_input_tokens": 0},
                 "output_tokens": 1, "service_tier": "standard"}  # fmt: skip
        message = {"model": "claude", "id": f"msg_{self.session}_{self.message}", "type": "message",
                   "role": "assistant", "content": [block], "stop_reason": None, "stop_sequence": None,
                   "usage": usage}  # fmt: skip
        return {**self._envelope(), "message": message, "requestId": "req_1", "type": "assistant", **self._stamp()}

    def result(self) -> Record:
        rng = self.rng
        rejected = self.calls and rng.random() < 0.005
        text = prose(rng, rng.choice((120, 300, 1_000, 4_000, 16_000)))
        if rejected:
            text = (
                "The user doesn't want to proceed with this tool use. The tool use was rejected (eg. if it was a file "
                "edit, the new_string was NOT written to the file). To tell you how to proceed, the user said:\n"
            ) + prose(rng, 80)
        block: Record = {
            "tool_use_id": self.calls.pop() if self.calls else "toolu_0",
            "type": "tool_result",
            "content": text,
        }
        block |= {"is_error": True} if rejected else {"is_error": False} if rng.random() < 0.3 else {}
        result = "User rejected tool use" if rejected else {"type": "text", "file": {"content": text}}
        return {**self._envelope(), "type": "user", "message": {"role": "user", "content": [block]}, **self._stamp(),
                "toolUseResult": result}  # fmt: skip

    def progress(self) -> Record:
        output = prose(self.rng, self.rng.choice((100, 600, 2_500)))
        data = {"type": "bash_progress", "output": output, "fullOutput": output, "elapsedTimeSeconds": 3}
        return {**self._envelope(), "type": "progress", "data": data, "toolUseID": "bash-1", **self._stamp()}

    def system(self) -> Record:
        return {**self._envelope(), "type": "system", "subtype": "turn_duration", "durationMs": 22830, **self._stamp()}

    def snapshot(self) -> Record:
        files = {f"internal/queue/file{n}.go": {"backupFileName": f"{n:032x}@v1", "version": 1} for n in range(24)}
        snapshot = {"messageId": "m", "trackedFileBackups": files}
        return {"type": "file-history-snapshot", "messageId": "m", "snapshot": snapshot, "isSnapshotUpdate": False}


def session_lines(rng: random.Random, session: str, size: int) -> Iterator[bytes]:
    """Lines of about `size` bytes in all."""
    author, written = Author(rng, session), 0
    kinds: Mapping[Callable[[], Record], float] = {
        author.human: 2, author.interrupt: 0.1, author.agent: 40, author.result: 20, author.progress: 32,
        author.system: 2.9, author.snapshot: 3,
    }  # fmt: skip
    while written < size:
        line = orjson.dumps(rng.choices(list(kinds), list(kinds.values()))[0]()) + b"\n"
        written += len(line)
        yield line


def write_tree(folder: Path, size: int, seed: int = 7) -> None:
    """Transcripts of about `size` bytes in all, 20 sessions a project."""
    rng = random.Random(seed)
    for number in range(max(1, round(size / SESSION_BYTES))):
        project = folder / f"-home-dev-src-{number // 20}"
        project.mkdir(parents=True, exist_ok=True)
        with (project / f"s{number:05d}.jsonl").open("wb") as file:
            file.writelines(session_lines(rng, f"s{number:05d}", min(size, SESSION_BYTES)))


def read_all(folder: Path, seen: dict[str, Cursor], sink: Sink) -> None:
    """One look; `seen` keeps the cursors, as the store would."""
    for batch in ClaudeCodeSource().read(folder, seen):
        sink(batch)
        if batch.cursor is not None:
            seen[batch.unit] = batch.cursor


def read_bytes(folder: Path) -> None:
    """Only the bytes."""
    for path in folder.rglob("*.jsonl"):
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass


def parse_lines(folder: Path) -> None:
    """Only the JSON."""
    for path in folder.rglob("*.jsonl"):
        with path.open("rb") as file:
            for line in file:
                orjson.loads(line)


def cpu_seconds(work: Callable[[], None]) -> float:
    """CPU time of this process."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def measure(folder: Path, rounds: int, sink: Sink) -> dict[str, list[float]]:
    """CPU seconds of each way to read `folder`, one after the other in every round."""
    ways: Mapping[str, Callable[[], None]] = {
        "bytes": lambda: read_bytes(folder),
        "orjson": lambda: parse_lines(folder),
        "source": lambda: read_all(folder, {}, sink),
    }
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            found[name].append(cpu_seconds(work))
    return found


def measure_append(folder: Path, rounds: int, sink: Sink) -> list[float]:
    """CPU seconds of the look after one more megabyte of one transcript."""
    seen: dict[str, Cursor] = {}
    read_all(folder, seen, sink)
    target = max(folder.rglob("*.jsonl"))
    found = []
    for number in range(rounds):
        with target.open("ab") as file:
            file.writelines(session_lines(random.Random(number), f"a{number}", 1_000_000))
        found.append(cpu_seconds(lambda: read_all(folder, seen, sink)))
    return found


def measure_idle(rounds: int, sink: Sink) -> list[float]:
    """CPU seconds of a look at unchanged files."""
    with tempfile.TemporaryDirectory() as name:
        folder, rng, seen = Path(name), random.Random(3), dict[str, Cursor]()
        for number in range(IDLE_FILES):
            path = folder / f"-home-dev-src-{number // 20}" / f"i{number:05d}.jsonl"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"".join(session_lines(rng, path.stem, 2_000)))
        read_all(folder, seen, sink)
        return [cpu_seconds(lambda: read_all(folder, seen, sink)) for _ in range(rounds)]


def peak_megabytes(folder: Path, sink: Sink) -> float:
    """The most that was allocated at one time during a first read."""
    tracemalloc.start()
    read_all(folder, {}, sink)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def spread(values: list[float], form: str) -> str:
    """Median, least and most."""
    low, middle, high = (format(value, form) for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low} to {high})"


def main() -> None:
    """Write the tree, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=64, help="size of the tree (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds (%(default)s)")
    arguments = parser.parse_args()
    counts = {"nodes": 0, "edges": 0, "batches": 0}

    def sink(batch: Batch) -> None:
        counts["nodes"] += len(batch.nodes)
        counts["edges"] += len(batch.edges)
        counts["batches"] += 1

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tree(folder, arguments.megabytes * 1_000_000)
        size = sum(path.stat().st_size for path in folder.rglob("*.jsonl"))
        read_all(folder, {}, sink)
        lines = sum(path.read_bytes().count(b"\n") for path in folder.rglob("*.jsonl"))
        python = sys.version.split()[0]
        print(f"{size / 1e6:.0f} MB in {lines:,} lines of {size / lines:,.0f} bytes; {counts}; Python {python}")
        found = measure(folder, arguments.rounds, sink)
        for way, seconds in found.items():
            print(f"{way:8}{spread([size / 1e6 / value for value in seconds], '.0f')} MB/s")
        print(f"peak    {peak_megabytes(folder, sink):.1f} MB allocated")
        first = statistics.median(found["source"])
        shares = [seconds / first * 100 for seconds in measure_append(folder, arguments.rounds, sink)]
        print(f"append  {spread(shares, '.2f')} % of the first read for 1 MB, {1e8 / size:.2f} % of the bytes")
    idle = measure_idle(max(5, arguments.rounds), sink)
    print(f"idle    {spread([seconds * 1000 for seconds in idle], '.1f')} ms for {IDLE_FILES:,} files")


if __name__ == "__main__":
    main()
