"""Where a served version is added, at the dose that it is served at now."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from daemon.protocol import GateReport, Placement
from store.combinations import Scale
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


def scaled(rows: Sequence[ServedRow], scales: Mapping[str, Scale]) -> list[ServedRow]:
    """At the doses that servers of some weights get: those that are asked for, scaled while several are on."""
    if sum(row.enabled for row in rows) < 2:
        return list(rows)
    return [_scaled(row, scales[row.name].of(row.dose)) if row.name in scales else row for row in rows]


def _scaled(row: ServedRow, scale: float) -> ServedRow:
    return replace(row, dose=row.dose * scale, coefficient=row.coefficient * scale)


def factors_of(row: ServedRow) -> dict[int, float]:
    """Layer → its coefficient in units of the first one's, so that one coefficient serves all, whatever the dose is."""
    proved = [Placement.model_validate(each) for each in orjson.loads(row.placements)]
    return {at.layer: at.coefficient / proved[0].coefficient for at in proved} or {row.layer: 1.0}


def gate_of(row: ServedRow) -> GateReport | None:
    """The gate that its proof found good, if one was."""
    return None if row.gate is None else GateReport.model_validate_json(row.gate)
