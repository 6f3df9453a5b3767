"""Alembic revisions of the store's tables; triggers and views are made anew after each (store/migrate.py)."""
