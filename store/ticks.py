"""How the daemon's looks went."""

from sqlalchemy import Connection

from store.rows import run


def tick_ok(conn: Connection, name: str, now: int) -> None:
    """A look went well; what went wrong before is over."""
    sql = (
        "INSERT INTO tick (name, last_ok_at) VALUES (:name, :now) "
        "ON CONFLICT (name) DO UPDATE SET last_ok_at = :now, last_error = NULL"
    )
    run(conn, sql, name=name, now=now)


def tick_failed(conn: Connection, name: str, error: str, now: int) -> None:
    """A look failed."""
    sql = (
        "INSERT INTO tick (name, last_error_at, last_error) VALUES (:name, :now, :error) "
        "ON CONFLICT (name) DO UPDATE SET last_error_at = :now, last_error = :error"
    )
    run(conn, sql, name=name, now=now, error=error)
