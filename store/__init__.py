"""What is durable: SQLAlchemy over SQLite, two state machines held by the database itself. Knows no other layer."""
