"""What is durable: SQLAlchemy over SQLite, two state machines held by the database itself. No graph, no daemon, no torch."""
