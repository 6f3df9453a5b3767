"""Where a served version is added, at the dose that it is served at now."""

import orjson

from daemon.protocol import GateReport, Placement
from store.served import ServedRow
from store.vectors import VectorRow


def proved_placements(report: str | None, vector: VectorRow) -> tuple[Placement, ...]:
    """Where a version was proved, from the report (JSON) of its proof; of an older one, its one layer."""
    told = orjson.loads(report or "{}").get("placements", [])
    if told:
        return tuple(Placement.model_validate(each) for each in told)
    assert vector.layer is not None
    assert vector.dose is not None
    assert vector.coefficient is not None
    return (Placement(layer=vector.layer, dose=vector.dose, coefficient=vector.coefficient),)


def placements_of(row: ServedRow) -> tuple[Placement, ...]:
    """As proved, all doses scaled by how far the served one is from the proved one; its one layer without a proof."""
    proved = tuple(Placement.model_validate(each) for each in orjson.loads(row.placements))
    if not proved:
        return (Placement(layer=row.layer, dose=row.dose, coefficient=row.coefficient),)
    scale = row.dose / proved[0].dose
    return tuple(
        at.model_copy(update={"dose": at.dose * scale, "coefficient": at.coefficient * scale}) for at in proved
    )


def factors_of(row: ServedRow) -> dict[int, float]:
    """Layer → its coefficient in units of the first one's, so that one coefficient serves all, whatever the dose is."""
    proved = [Placement.model_validate(each) for each in orjson.loads(row.placements)]
    return {at.layer: at.coefficient / proved[0].coefficient for at in proved} or {row.layer: 1.0}


def gate_of(row: ServedRow) -> GateReport | None:
    """The gate that its proof found good, if one was."""
    return None if row.gate is None else GateReport.model_validate_json(row.gate)
