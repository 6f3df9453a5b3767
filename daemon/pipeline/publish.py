"""publish: bring each model's manifest in line with the store. Derived, idempotent, run after every change.

The manifest of trained weights no longer lists the vectors that live in them; the manifest of the weights before keeps
them, so that a server which still runs the old weights has no gap.
"""

from collections.abc import Mapping

import orjson
from sqlalchemy import Connection

from daemon.home import Home
from daemon.pipeline.placed import factors_of, gate_of, scaled
from daemon.serving.manifest import Gate, ManifestModel, SetEntry, VectorEntry, publication_lock, publish_manifest
from daemon.serving.vector_bytes import served_vector_bytes
from store.combinations import CombinationRow, named_sets, scales_in_force
from store.engine import Store
from store.models import ModelRow, list_models
from store.served import ServedRow, served
from store.vectors import load_blob, retired_into


def publish(store: Store, home: Home, max_relative_dose: float) -> None:
    """Write every manifest whose content changed."""
    with publication_lock(home.registry):
        _publish_all(store, home, max_relative_dose)


def _publish_all(store: Store, home: Home, max_relative_dose: float) -> None:
    with store.read() as conn:
        models = list_models(conn)
        listed = {each.digest: scaled(served_for(conn, each), scales_in_force(conn, each.digest)) for each in models}
        sets = {each.digest: named_sets(conn, each.digest) for each in models}
        blobs = {row.sha256: load_blob(conn, row.sha256) for rows in listed.values() for row in rows}
    for model in models:
        mine = listed[model.digest]
        files = {row.vector_id: _file(blobs[row.sha256], row, model) for row in mine}
        entries = [_entry(row, files[row.vector_id][0]) for row in mine]
        chosen = _sets(sets[model.digest], {entry.id for entry in entries})
        publish_manifest(home.registry, _model(model), entries, max_relative_dose, dict(files.values()), chosen)


def served_for(conn: Connection, model: ModelRow) -> list[ServedRow]:
    """What servers of those weights are told, on or off, at the doses asked for.

    One version a behaviour, the newest: what lives in these weights is left out, and a newer one replaces it.
    """
    in_weights = retired_into(conn, model.digest)
    mine = (row for row in served(conn) if row.root_digest == model.root_digest and row.vector_id not in in_weights)
    return list({row.behaviour: row for row in mine}.values())


def _model(row: ModelRow) -> ManifestModel:
    return ManifestModel(
        name=row.name,
        hidden_size=row.hidden_size,
        n_layers=row.n_layers,
        digest=row.digest,
        template_digest=row.template_digest,
    )


def _file(blob: tuple[int, int, bytes], row: ServedRow, model: ModelRow) -> tuple[str, bytes]:
    gate = gate_of(row)
    return served_vector_bytes(*blob, row, model, factors_of(row), None if gate is None else gate.weights)


def _entry(row: ServedRow, sha256: str) -> VectorEntry:
    gate = gate_of(row)
    return VectorEntry(
        id=row.name,
        sha256=sha256,
        layers=tuple(factors_of(row)),
        dose=row.dose,
        coefficient=row.coefficient,
        enabled=row.enabled,
        gate=None if gate is None else Gate(layer=gate.layer, bias=gate.bias),
    )


def _sets(named: Mapping[str, CombinationRow], listed: set[str]) -> dict[str, list[SetEntry]]:
    """Sets with the doses that were chosen for them; one whose members are not all listed any more is left out."""
    found = {}
    for name, row in named.items():
        joint = orjson.loads(row.report)["joint"]
        if listed.issuperset(effect["name"] for effect in joint):
            found[name] = [SetEntry(id=effect["name"], dose=effect["placements"][0]["dose"]) for effect in joint]
    return found
