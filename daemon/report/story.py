"""The parts of a version's page that tell where it stands among others, what it was made of, and what became of it."""

from collections.abc import Sequence

from daemon.protocol import Gate, TrainReport
from daemon.report import charts
from daemon.report.blocks import fields, figure, figures, folded, mark, met_mark, nothing, section, state_mark, table
from daemon.report.data import Interference, Job, VersionPage
from daemon.report.markup import Markup, element, joined
from daemon.report.numbers import count, interval, number, signed

Matrix = Sequence[Sequence[float | None]]

_VARIANTS = {
    "base": "weights before",
    "hook": "with the vector",
    "rank1": "rank-1 bake",
    "trained": "trained",
    "control_hook": "a random vector",
    "control": "trained on a random vector",
}


def versions(page: VersionPage) -> Markup | None:
    """Every version of the behaviour with its effect."""
    if not any(row.effect is not None for row in page.versions):
        return None
    drawing = figure(
        charts.version_chart(page.versions, page.vector),
        "Effect with its interval, each version on its own test pairs. Blue: this one. Hollow: no longer in use.",
    )
    rows = [
        (
            row.vector,
            state_mark(row.state),
            f"{signed(row.effect)} {interval((row.effect_low, row.effect_high))}" if row.effect is not None else None,
            number(row.layer),
            number(row.dose, 3),
            number(row.pairs),
            row.since,
        )
        for row in page.versions
    ]
    heads = ("version", "state", "effect", "layer", "dose", "pairs", "since")
    return section("Over time", None, figures(drawing), table(heads, rows, "Versions"))


def rechecks(page: VersionPage) -> Markup | None:
    """What was measured of it again, after its proof."""
    if not page.rechecks:
        return None
    rows = [
        (
            each.at,
            each.because,
            mark("holds", "good") if each.verdict == "holds" else mark(each.verdict, "bad"),
            f"{signed(each.effect)} {interval((each.effect_low, each.effect_high))}",
            number(each.kl_p95),
            each.reason,
        )
        for each in page.rechecks
    ]
    heads = ("at (UTC)", "because", "", "effect", "KL p95", "reason")
    lead = "Something around it changed, and so it was measured again at the place where it was proved."
    return section("Measured again", lead, table(heads, rows, "Measured again"))


def interference(page: VersionPage) -> Markup | None:
    """How much it has to do with the vectors of other behaviours."""
    found = page.interference
    if found is None:
        return None
    told = figure(charts.heat_map("cosines", found.names, found.cosines, 1.0, _told(found, "cosine")), _cosines(found))
    drawings = [told] if found.cross_effects is None else [told, _cross(found, found.cross_effects)]
    heads = ("", *found.names)
    numbers = folded("the numbers", table(heads, _numbers(found.cosines, found.names), "Cosines"))
    lead = f"Measured together at {found.at} (UTC). " if found.at else ""
    lead += "Vectors that point the same way, or against each other, are not added together without a thought."
    if found.cross_effects is None:
        lead += " What they do to each other's pairs was not measured; `reflexd combine` does."
    return section("Beside the others", lead, figures(*drawings), numbers, _joint(found))


def _cross(found: Interference, effects: Matrix) -> Markup:
    most = max((abs(value) for row in effects for value in row if value is not None), default=1.0)
    pairs = ", ".join(f"{number(n)} of {name}" for n, name in zip(found.n, found.names, strict=False))
    caption = f"Effect of each vector (row) alone on the pairs of each behaviour (column), nats a token; n: {pairs}."
    return figure(charts.heat_map("effects", found.names, effects, most, _told(found, "effect")), caption)


def _numbers(values: Matrix, names: Sequence[str]) -> list[list[str]]:
    return [[name, *(number(value) for value in row)] for name, row in zip(names, values, strict=True)]


def _joint(found: Interference) -> Markup | None:
    """All at once, at the doses that were chosen together."""
    if not found.joint or found.kl is None:
        return None
    rows = [
        (
            each.name,
            number(each.multiplier),
            signed(each.single),
            signed(each.joint),
            f"{number(each.kept)} {interval(each.kept_interval)}".strip(),
            number(each.n),
        )
        for each in found.joint
    ]
    told = (
        f"All at once: neutral KL mean {number(found.kl.mean)}, p95 {number(found.kl.p95)}, "
        f"RMSE {number(found.kl.rmse)} nats over {count(found.kl.n_positions, 'position')}."
    )
    heads = ("vector", "times its dose", "effect alone", "with the others", "kept", "n")
    return joined(element("p", told), table(heads, rows, "All at once"))


def _cosines(found: Interference) -> str:
    where = f" at layer {found.layer}" if found.layer is not None else ", each row at the layer of its vector"
    return f"Cosine of {count(len(found.names), 'vector')}{where}."


def _told(found: Interference, what: str) -> str:
    return f"Heat map of {what}s of {', '.join(found.names)}; the numbers stand in the table below."


def lineage(page: VersionPage) -> Markup:
    """What it was made of and with."""
    evidence, made = page.evidence, page.lineage
    rows = [(side, number(n), number(evidence.sessions.get(side, 0))) for side, n in evidence.pairs.items()]
    days = evidence.days
    told = f"{count(sum(evidence.pairs.values()), 'pair')}, {count(len(days), 'day')}"
    lead = f"{told}{f', from {days[0]} to {days[-1]}' if days else ''}. All pairs of one session lie on one side."
    libraries = ", ".join(f"{name} {version}" for name, version in made.get("libraries", {}).items())
    recipe = ", ".join(f"{name} {value}" for name, value in made.get("recipe", {}).items())
    digests = [
        (_said(name), element("code", str(made[name])))
        for name in made
        if name.endswith("digest") or name == "blob_sha256"
    ]
    described = [
        ("made because", made.get("because")),
        ("parent", made.get("parent")),
        ("model", page.model),
        ("recipe", recipe),
        ("reflexd", made.get("code_version")),
        ("Python", made.get("python")),
        ("libraries", libraries),
        ("device", made.get("device")),
        *digests,
    ]
    sides = table(("side", "pairs", "sessions"), rows, "Pairs by side") if rows else nothing("No pairs are recorded.")
    return section("What it was made of", lead, sides, fields(described))


def _said(name: str) -> str:
    return {"blob_sha256": "matrix, sha256"}.get(name, name.replace("_", " "))


def training(page: VersionPage) -> Markup | None:
    """Its jobs, and what each measured."""
    return section("Training", None, *(_job(job) for job in page.jobs)) if page.jobs else None


def _job(job: Job) -> Markup:
    head = element("p", f"Job {job.job} ", state_mark(job.state), f" since {job.since}, attempt {job.attempt}.")
    error = element("p", job.error) if job.error else None
    unread = nothing(f"Parts of its result cannot be read here: {', '.join(job.missing)}.") if job.missing else None
    return joined(head, error, _measured(job.result) if job.result else None, unread)


def _measured(result: TrainReport) -> Markup:
    gates = [
        (gate.name, _with_interval(gate), number(gate.bar, 3), number(gate.n), met_mark(gate.passed))
        for gate in result.gates
    ]
    variants = [
        (
            _VARIANTS.get(row.variant, row.variant),
            signed(row.gap),
            signed(row.effect),
            f"{number(row.effect_ratio)} {interval(row.effect_ratio_interval)}",
            f"{number(row.neutral_kl_mean, 3)}, {number(row.neutral_kl_p95, 3)}",
            number(row.perplexity),
        )
        for row in result.rows
    ]
    heads = ("weights", "gap", "effect", "of the vector’s", "neutral KL mean, p95", "perplexity")
    kept = f"Kept: {result.reason}" if result.passed else f"Not kept: {result.reason}"
    told = f"{kept}. {count(result.steps, 'step')}, {number(result.seconds, 0)} s."
    return joined(
        element("p", told),
        table(heads, variants, "Variants of the weights, held-out test pairs"),
        table(("gate", "value", "bar", "n", ""), gates, "Gates"),
    )


def _with_interval(gate: Gate) -> str:
    return f"{number(gate.value, 3)} {interval(gate.interval)}".strip()
