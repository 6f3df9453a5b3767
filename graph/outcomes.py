"""Outcomes of one source, without a store: what `reflexd mine` shows."""

from pathlib import Path

from graph.errors import GraphError
from graph.schema import Frozen, Outcome
from graph.sources import get_source


class OutcomeRecord(Frozen):
    """How one response ended. `uuid` is the outcome's own id in its source, `line` its line where there is one."""

    source_ref: str
    uuid: str | None = None
    line: int | None = None
    polarity: Outcome
    signal: str
    weight: float
    pairable: bool
    text: str


def mine_outcomes(kind: str, path: Path) -> list[OutcomeRecord]:
    """Every outcome in a file or folder, by the time of its response.

    Raises:
        GraphError: The kind is unknown, or the source cannot be read.
    """
    from graph.episodes import source_ref, verdicts_of

    memory = get_source(kind).read(path, None).graph
    if memory is None:
        raise GraphError(f"{path}: {kind} gave no memory on a first read")
    return [
        OutcomeRecord(
            source_ref=source_ref(memory, kind, verdict.response),
            uuid=str(memory.node(verdict.outcome_node)["native_id"]),
            polarity=verdict.outcome,
            signal=verdict.signal,
            weight=verdict.weight,
            pairable=verdict.pairable,
            text=verdict.words,
        )
        for verdict in verdicts_of(memory)
    ]
