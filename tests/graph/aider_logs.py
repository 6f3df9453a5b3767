"""Histories as aider writes them, and what reading them tells."""

import os

from hypothesis import HealthCheck, settings
from logs import read_by, write

from graph.sources.aider import HISTORY, AiderSource

EXAMPLES = 150 * int(os.environ.get("REFLEXD_FUZZ", "1"))
MUTATED = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
SOURCE = AiderSource()


# What aider's own io.py writes.
def header(began="2026-03-02 08:15:00"):
    return f"\n# aider chat started at {began}\n\n"


def typed(text):
    return "\n#### " + "  \n#### ".join(text.splitlines()) + "  \n"


def tool(*texts):
    return "".join(f"> {text}".rstrip() + "  \n" for text in texts)


def said(text):
    return f"\n{text.strip()}\n\n"


COMMAND = tool("/usr/local/bin/aider billing/invoice.py", "Aider v0.86.2", "Git repo: .git with 41 files")
FENCE = "```"
QUOTED = (
    header("2025-11-05 10:00:00")
    + COMMAND
    + typed("drop the cache")
    + said("Done.")
    + tool("Commit 9f8e7d6 refactor: drop the cache")
    + typed("/undo")
    + tool("Removed: 9f8e7d6 refactor: drop the cache", "Create new file? (Y)es/(N)o [Yes]: n")
)


WORK = (
    header()
    + tool("You can skip this check with --no-gitignore", "Add .aider* to .gitignore? (Y)es/(N)o [Yes]: y")
    + COMMAND
    + typed("round the tax per line\nnot per invoice")
    + said("I'll round once at the end.\n\n#### Step 1\n\n> a quote\n\nbilling/invoice.py\n```python\nx = 1\n```")
    + tool("Tokens: 4.1k sent, 310 received.", "Applied edit to billing/invoice.py", "Commit 1a2b3c4 feat: round")
    + tool("billing/tests.py", "Create new file? (Y)es/(N)o [Yes]: n")
    + typed("/undo")
    + tool("Removed: 1a2b3c4 feat: round", "Now at:  0000aaa chore: start")
    + typed("per line, as I said")
    + said("Right. Each line is rounded on its own now.")
    + tool("Applied edit to billing/invoice.py", "Commit 5d6e7f8 feat: round per line", "Attempt to fix lint errors? y")
    + said("The unused import is gone.")
    + tool("Commit 7a7a7a7 style: remove unused import")
    + said("All done here.")
    + tool("Tokens: 3k sent, 12 received.")
    + typed("/run pytest -q")
    + tool("3 passed", "Add the output to the chat? (y/n/instructions): n")
    + typed("looks good, now the receipt")
    + said("The receipt shows the tax of each line.")
    + header("2026-03-02 11:40:09")
    + COMMAND
    + typed("/ask why is the rounding half even?")
    + typed("why is the rounding half even?")
    + said("Because the accounts expect it.")
    + tool("Tokens: 2k sent, 40 received.")
    + typed("fine, keep it")
    + said("Kept.")
    + tool("Tokens: 1k sent, 4 received.")
)


def read(path, seen=None):
    return read_by(SOURCE, path, seen)


def mined(tmp_path, text):
    nodes, edges, _ = read(write(tmp_path / HISTORY, text))
    return nodes, edges


def of_kind(nodes, kind):
    return [node for node in nodes.values() if node["kind"] == kind]


def texts(nodes, kind):
    return [node["text"] for node in of_kind(nodes, kind)]


def outcomes(nodes, edges):
    """(signal, how, of what text) by line."""
    ends = {target: (source, kind) for source, target, kind in edges}
    return [
        (node["signal"], ends[node["id"]][1], nodes[ends[node["id"]][0]]["text"])
        for node in sorted(of_kind(nodes, "outcome"), key=lambda node: node["line"])
    ]


def line_of(text, part):
    return text[: text.index(part)].count("\n") + 1
