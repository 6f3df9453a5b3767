"""Fixtures that several modules of this folder share."""

import claude_logs
import pytest
from langgraph_rows import Database


@pytest.fixture
def told(tmp_path):
    """Reads a Claude Code log once in compact and once in spaced JSON, which must say the same."""

    def tell(log):
        one = claude_logs.read(claude_logs.write(tmp_path / "s1.jsonl", log))
        other = claude_logs.read(claude_logs.write(tmp_path / "s1.jsonl", log, pretty=True))
        assert one.edges == other.edges
        assert one.text("direction") == other.text("direction")
        return one

    return tell


@pytest.fixture
def database(tmp_path):
    """A LangGraph database."""
    made = Database(tmp_path / "agent.sqlite")
    yield made
    made.connection.close()
