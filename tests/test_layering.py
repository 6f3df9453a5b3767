"""The rules that hold the house together: who may import whom, and what the resident process never loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("graph", "store", "daemon", "migrations")
MODEL_SIDE = ("daemon/steering", "daemon/proof", "daemon/training", "daemon/models/convert.py")
TORCH_FREE = {
    "steering": ("model_folder.py", "vector_file.py", "neutral.py", "__init__.py"),
    "proof": ("chance.py", "choices.py", "confounds.py", "limits.py", "turns.py", "verdict.py", "__init__.py"),
}


def modules(*packages):
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def imports(path, top_level_only=False):
    """Every module that `path` imports, with the enclosing function's imports unless `top_level_only`."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


def offenders(paths, *forbidden):
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imports(path)
        if any(name == bad or name.startswith(bad + ".") for bad in forbidden)
    ]


def test_graph_knows_neither_store_nor_daemon_nor_torch():
    assert offenders(modules("graph"), "store", "daemon", "torch", "transformers", "sqlalchemy", "apscheduler") == []


def test_store_knows_neither_graph_nor_daemon_nor_torch():
    assert offenders(modules("store", "migrations"), "graph", "daemon", "torch", "transformers", "networkx") == []


def test_only_the_scheduler_knows_apscheduler():
    others = [path for path in modules(*PACKAGES) if path != ROOT / "daemon" / "scheduler.py"]
    assert offenders(others, "apscheduler") == []


def test_torch_is_imported_on_the_model_side_only():
    def on_model_side(path):
        name = path.relative_to(ROOT).as_posix()
        return name.startswith(MODEL_SIDE)

    resident = [path for path in modules("daemon") if not on_model_side(path)]
    torch_free = [ROOT / "daemon" / room / name for room, names in TORCH_FREE.items() for name in names]
    assert offenders([*resident, *torch_free], "torch", "transformers", "accelerate") == []


def test_sql_that_only_sqlite_knows_stays_in_the_store():
    """Outside `store`, no connection is opened and no pragma is set. Exceptions: doctor's two checks, and LangGraph's
    memories, which are SQLite files of somebody else's.
    """
    outside = [path for path in modules("graph", "daemon") if path.name not in {"doctor.py", "langgraph.py"}]
    assert [path.name for path in outside if "PRAGMA" in path.read_text()] == []
    others = [path for path in modules("graph", "daemon") if path != ROOT / "graph" / "sources" / "langgraph.py"]
    assert offenders(others, "sqlite3", "pysqlite3") == []


def test_there_is_one_clock():
    banned = ("time.time(", "datetime.now(", "time.time_ns(", "utcnow(")
    found = [
        path.relative_to(ROOT).as_posix()
        for path in modules(*PACKAGES)
        if any(word in path.read_text() for word in banned)
    ]
    assert found == ["store/clock.py"]


def test_no_pickle_is_read():
    found = offenders(modules(*PACKAGES), "pickle", "dill", "joblib", "cloudpickle")
    loads = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules(*PACKAGES)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "torch.load"
        and not any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
    ]
    assert found + loads == []


def loaded_by(statement):
    code = f"{statement}\nimport sys; print(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["daemon.service", "daemon.pipeline", "daemon.commands.work", "daemon.child"])
def test_the_resident_process_never_loads_torch(module):
    assert loaded_by(f"import {module}").isdisjoint({"torch", "transformers", "accelerate"})


@pytest.mark.parametrize("command", ["look", "behaviours", "pair", "record", "status", "output", "opened"])
def test_read_commands_load_neither_torch_nor_sqlalchemy(command):
    loaded = loaded_by(f"import daemon.commands.{command}, store.reader")
    assert loaded.isdisjoint({"torch", "sqlalchemy", "networkx", "numpy", "pydantic"})


def test_no_module_is_longer_than_400_lines_and_no_function_than_60():
    long_modules = [p.name for p in modules(*PACKAGES) if len(p.read_text().splitlines()) > 400]
    long_functions = [
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in modules(*PACKAGES)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60
    ]
    assert (long_modules, long_functions) == ([], [])
