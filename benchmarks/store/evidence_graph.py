"""A million-edge evidence graph: how fast it is written, how large it is, and how long a neighbourhood takes.

    python benchmarks/store/evidence_graph.py [--edges 1000000] [--far 0.1] [--peer/--no-peer]

Conversations of 4,000 turns: each node is part of its session (a hub), follows the node before it, and mentions three
others: of its session, or with probability `far` any in the store. With `--far 1` it is a random graph, the worst case:
a neighbourhood grows by the whole degree at each hop, and each row lands on a page of its own. The peer is the same
question asked of a networkx graph of everything, in a process of its own.
"""

import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from store.engine import Store
from store.graph import EdgeRow, NodeRow, neighbourhood, node_id, save_graph
from store.sources import add_source

HUBS = frozenset({"session", "pattern", "source"})
SCOPE = "bench"
NODES_A_SESSION = 4_000
TURN = ("direction", "response", "proposal", "outcome")
BATCH_NODES = 2_000
LOCAL = 200  # nodes back, of those that are mentioned within a session
WORDS = "Keep the tests in one file and do not touch the migration until I have read it, please. "


def ids_of(n: int) -> list[str]:
    return [node_id(SCOPE, f"n{i}") for i in range(n)]


def batches(n_edges: int, far: float, seed: int = 7) -> Iterator[tuple[str, list[NodeRow], list[EdgeRow]]]:
    """(unit, nodes, edges): five edges a node, one of them to the session."""
    chance = random.Random(seed)
    n_nodes = n_edges // 5
    ids = ids_of(n_nodes)
    session, nodes, edges = "", [], []
    for i in range(n_nodes):
        number = i // NODES_A_SESSION
        if i % NODES_A_SESSION == 0:
            session = node_id(SCOPE, f"session{number}")
            nodes.append(NodeRow(session, SCOPE, f"session{number}", f"s{number}", "session", "", 0, "", {}))
        kind = TURN[i % 4]
        text = WORDS[: 20 + i % 60] + str(i)
        nodes.append(
            NodeRow(
                ids[i], SCOPE, f"n{i}", f"uuid-{i}", kind, text, i, "human", {"file": f"{number}.jsonl", "place": i}
            )
        )
        edges.append(EdgeRow(ids[i], session, "part_of", "", "", 1.0, i, {}))
        edges.append(EdgeRow(ids[i], ids[max(i - 1, 0)], "follows", "", "", 1.0, i, {}))
        for _ in range(3):
            other = chance.randrange(n_nodes) if chance.random() < far else i - chance.randrange(1, LOCAL)
            edges.append(EdgeRow(ids[i], ids[max(other, 0)], "mentions", "marker", "1", 0.5, i, {}))
        if len(nodes) >= BATCH_NODES or i == n_nodes - 1:
            yield f"{number}.jsonl", nodes, edges
            nodes, edges = [], []


def build(store: Store, n_edges: int, far: float) -> tuple[int, float, float, int]:
    """(rows, wall seconds, CPU seconds, rows a second of the slowest tenth) of writing it, making the rows aside."""
    with store.write() as conn:
        source = add_source(conn, "bench", "/bench", 0)
    rows, wall, cpu, rates = 0, 0.0, 0.0, []
    for unit, nodes, edges in batches(n_edges, far):
        began, worked = time.perf_counter(), time.process_time()
        with store.write() as conn:
            save_graph(conn, source.id, unit, nodes, edges, 1)
        took = time.perf_counter() - began
        wall, cpu, rows = wall + took, cpu + time.process_time() - worked, rows + len(nodes) + len(edges)
        rates.append((len(nodes) + len(edges)) / took)
    return rows, wall, cpu, round(statistics.quantiles(rates, n=10)[0]) if len(rates) > 1 else round(rates[0])


def ask(store: Store, n_edges: int, hops: int, n: int = 200) -> str:
    """What `n` random nodes' neighbourhoods took: wall and CPU time, and how large they were."""
    wall, cpu, sizes = [], [], []
    for each in random.Random(hops).sample(ids_of(n_edges // 5), n):
        began, worked = time.perf_counter(), time.process_time()
        with store.read() as conn:
            nodes, _ = neighbourhood(conn, [each], hops, HUBS)
        wall.append((time.perf_counter() - began) * 1000)
        cpu.append((time.process_time() - worked) * 1000)
        sizes.append(len(nodes))
    middle, high = statistics.median(wall), statistics.quantiles(wall, n=20)[18]
    return (
        f"median {middle:.2f} ms, 95 % {high:.2f} ms (CPU: {statistics.median(cpu):.2f}, "
        f"{statistics.quantiles(cpu, n=20)[18]:.2f}); {statistics.median(sizes):.0f} nodes (median)"
    )


def peer(path: Path) -> None:
    """Load everything into networkx, in a process of its own, and ask for 3 hops."""
    import networkx as nx

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, worked = time.perf_counter(), time.process_time()
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    with Store.open(path, upgrade=False) as store, store.read() as conn:
        for row in conn.exec_driver_sql("SELECT id, kind, text, ts FROM node WHERE gone_at IS NULL"):
            graph.add_node(row[0], kind=row[1], text=row[2], ts=row[3])
        for row in conn.exec_driver_sql("SELECT src, dst, kind, weight, ts FROM edge WHERE gone_at IS NULL"):
            graph.add_edge(row[0], row[1], kind=row[2], weight=row[3], ts=row[4])
    built, busy = time.perf_counter() - began, time.process_time() - worked
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    wall, cpu = [], []
    plain = [n for n, body in graph.nodes(data=True) if body["kind"] not in HUBS]
    open_graph = nx.subgraph_view(graph, filter_node=lambda n: graph.nodes[n]["kind"] not in HUBS)
    either_way = open_graph.to_undirected(as_view=True)
    for each in random.Random(3).sample(plain, 50):
        began, worked = time.perf_counter(), time.process_time()
        near = nx.single_source_shortest_path_length(either_way, each, cutoff=3)
        graph.subgraph(near).copy()
        wall.append((time.perf_counter() - began) * 1000)
        cpu.append((time.process_time() - worked) * 1000)
    print(f"networkx, all of it: built in {built:.1f} s (CPU: {busy:.1f}), {grown:,.0f} MB")
    print(f"networkx, 3 hops: median {statistics.median(wall):.2f} ms (CPU: {statistics.median(cpu):.2f})")


@click.command()
@click.option("--edges", default=1_000_000, show_default=True, help="How many edges; a fifth as many nodes.")
@click.option("--far", default=0.1, show_default=True, help="Share of mentions that lead anywhere in the store.")
@click.option("--peer/--no-peer", "with_peer", default=True, help="Also ask networkx with all of it in memory.")
@click.option("--peer-of", type=click.Path(path_type=Path), hidden=True)
def main(edges: int, far: float, with_peer: bool, peer_of: Path | None) -> None:
    """Write an evidence graph, ask it for neighbourhoods, and compare."""
    if peer_of is not None:
        peer(peer_of)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "reflexd.db"
        with Store.open(path) as store:
            print(
                f"SQLite {store.journal.version}, journal {store.journal.mode}, synchronous {store.journal.synchronous}"
            )
            rows, wall, cpu, slow = build(store, edges, far)
            print(f"{rows:,} rows in {wall:.1f} s: {rows / wall:,.0f} rows/s, {slow:,} in the slowest tenth of batches")
            print(f"{rows / cpu:,.0f} rows a CPU second")
        with Store.open(path) as store:
            print(f"file: {path.stat().st_size / 2**20:,.0f} MB")
            for hops in (1, 2, 3):
                print(f"{hops} hops: {ask(store, edges, hops)}")
        if with_peer:
            subprocess.run([sys.executable, __file__, "--peer-of", path], check=True)


if __name__ == "__main__":
    main()
