"""Models: the base that was added, and every set of weights that training made of it."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from store.errors import NotFoundError
from store.rows import one, run, select, shaped


@dataclass(frozen=True)
class ModelRow:
    """Weights on disk. `root_digest` is the model that training started from first, `parent_digest` last."""

    digest: str
    name: str
    path: str
    hidden_size: int
    n_layers: int
    template_digest: str
    root_digest: str
    parent_digest: str | None
    job_id: int | None
    added_at: int
    current: bool


def _model(row: dict[str, Any]) -> ModelRow:
    return shaped(ModelRow, row | {"current": bool(row["current"])})


def add_model(
    conn: Connection,
    digest: str,
    name: str,
    path: str,
    hidden_size: int,
    n_layers: int,
    template_digest: str,
    now: int,
    *,
    root_digest: str | None = None,
    parent_digest: str | None = None,
    job_id: int | None = None,
) -> None:
    """Add weights. The same ones again move to `path` and take its template: what was made with another is stale."""
    run(
        conn,
        "INSERT INTO model (digest, name, path, hidden_size, n_layers, template_digest, root_digest, parent_digest, "
        "job_id, added_at) VALUES (:digest, :name, :path, :hidden, :layers, :template, :root, :parent, :job, :now) "
        "ON CONFLICT (digest) DO UPDATE SET path = excluded.path, template_digest = excluded.template_digest, "
        "changed_at = excluded.added_at WHERE (path, template_digest) IS NOT (excluded.path, excluded.template_digest)",
        digest=digest,
        name=name,
        path=path,
        hidden=hidden_size,
        layers=n_layers,
        template=template_digest,
        root=root_digest or digest,
        parent=parent_digest,
        job=job_id,
        now=now,
    )


def current_model(conn: Connection) -> ModelRow | None:
    """The weights in use, None before any were added."""
    row = one(conn, "SELECT * FROM model WHERE current = 1")
    return _model(row) if row else None


def set_current(conn: Connection, digest: str) -> None:
    """Make these the weights in use."""
    run(conn, "UPDATE model SET current = 0 WHERE current = 1")
    if not run(conn, "UPDATE model SET current = 1 WHERE digest = :digest", digest=digest):
        raise NotFoundError(f"model {digest[:12]}: not known; `reflexd model add` adds it")


def list_models(conn: Connection) -> list[ModelRow]:
    """Every model, oldest first."""
    return [_model(row) for row in select(conn, "SELECT * FROM model ORDER BY added_at, rowid")]


def get_model(conn: Connection, digest: str) -> ModelRow:
    """The model with that digest.

    Raises:
        NotFoundError: There is none.
    """
    row = one(conn, "SELECT * FROM model WHERE digest = :digest", digest=digest)
    if row is None:
        raise NotFoundError(f"model {digest[:12]}: not known; `reflexd model add` adds it")
    return _model(row)
