"""What is printed: a line a way, and each goal with what was reached."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from compare import Comparison, Way

HEADER = (
    f"{'':30}{'CPU-s':>8} {'least–most':>15} {'first':>8} {'wall s':>8} {'peak MiB':>9} {'− model':>9}"
    f" {'cos least':>11} {'cos last':>11} {'of limit':>9}"
)


@dataclass(frozen=True)
class Goal:
    """A figure and what it should be: at least, or at most, `wanted`."""

    text: str
    value: float
    wanted: float
    at_most: bool = False

    def line(self) -> str:
        """One line of the list of goals."""
        reached = self.value <= self.wanted if self.at_most else self.value >= self.wanted
        sign = "≤" if self.at_most else "≥"
        return f"{'reached' if reached else 'not yet':8} {self.text}: {self.value:.7g} (wanted {sign} {self.wanted:g})"


def comparison_lines(found: Comparison) -> list[str]:
    """The table of one case."""
    rate = statistics.median(found.rates)
    tokens = ", ".join(f"{system} {n:,}" for system, n in found.tokens.items())
    lines = [
        f"== {found.name}",
        f"tokens: {tokens} (limit: unique ones)",
        f"machine: {rate / 1e9:.1f} GFLOP a CPU-s in float32 products ({_range([each / 1e9 for each in found.rates])})",
        HEADER,
    ]
    lines += [_way_line(found, way) for way in found.ways]
    for system, cosines in found.readings.items():
        lines.append(
            f"{system}: mean difference of what it reads: cos least {min(cosines):.7f}, last {cosines[-1]:.7f}"
        )
    return lines


def comparison_goals(found: Comparison, wanted: tuple[float, float | None], memory: float | None) -> list[Goal]:
    """Goals of one case: times the best peer for all layers, and for the lower ones; the same with repeng, doubled."""
    ours, upper = (way for way in found.ways if way.system == "reflexd")
    peers = [way for way in found.ways if way.system != "reflexd"]
    best = min(way.cpu() for way in peers)
    default = next(way for way in peers if way.system == "repeng" and way.default)
    goals = []
    for way, times in zip((ours, upper), wanted, strict=True):
        if times is not None:
            goals.append(Goal(f"{found.name}: best peer / {way.label}", best / way.cpu(), times))
            goals.append(Goal(f"{found.name}: repeng / {way.label}", default.cpu() / way.cpu(), 2 * times))
    if memory is not None:
        goals.append(Goal(f"{found.name}: peak memory, repeng / reflexd", default.peak() / ours.peak(), memory))
    goals.append(Goal(f"{found.name}: cosine to the oracle, least of all layers", min(ours.cosines), 0.999999))
    goals.append(Goal(f"{found.name}: share of the machine's limit", found.share(ours), 0.7))
    return goals


def _way_line(found: Comparison, way: Way) -> str:
    cpu = [usage.cpu for usage in way.usages]
    wall = statistics.median(usage.wall for usage in way.usages)
    first = way.first.cpu if way.first else float("nan")
    label = way.label if way.default else f"{way.label} (best)"
    return (
        f"{label:30}{way.cpu():8.2f} {_range(cpu):>15} {first:8.2f} {wall:8.2f}"
        f" {way.peak():9,.0f} {way.peak() - found.loaded[way.system]:9,.0f}"
        f" {min(way.cosines):11.7f} {way.cosines[-1]:11.7f} {found.share(way):9.2f}"
    )


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.2f}–{max(values):.2f}"
