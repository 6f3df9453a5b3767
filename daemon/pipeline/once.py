"""Every stage once, in order, each until it finds nothing more to do. Needs no scheduler."""

from daemon.pipeline import STAGES, Context, housekeep, publish, rescue

_REPEATS = 1000  # more units than one run can hold; a stage that never says "nothing left" is a fault


def run_once(ctx: Context, until: str = "train") -> None:
    """Run the stages up to and including `until`, then bring the manifests in line."""
    rescue(ctx)
    bring_manifests_in_line(ctx)
    for name in list(STAGES)[: list(STAGES).index(until) + 1]:
        run_stage(ctx, name)
    housekeep(ctx)


def run_stage(ctx: Context, name: str) -> bool:
    """Run one stage until nothing is left for it; manifests follow every unit. True if it did anything."""
    single = name in {"watch", "mine"}
    for done in range(_REPEATS):
        if ctx.stopping() or not STAGES[name](ctx):
            return done > 0
        bring_manifests_in_line(ctx)
        if single:
            break
    return True


def bring_manifests_in_line(ctx: Context) -> None:
    """Write each model's manifest if the store says something else than it does."""
    publish(ctx.store, ctx.home, ctx.settings.serving.max_relative_dose)
