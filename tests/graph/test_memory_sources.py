"""Files are read as they are, only when they changed, and a bad one costs nothing that is known."""

import json
import os

import networkx as nx
import pytest
from memories import exchange, look, memory, node, node_link, write
from memory_files import GRAPHML, NODE_LINK, plain_graph, responses

from graph.errors import GraphError, SourceMissingError, TornFileError
from graph.memory import MemoryGraph
from graph.outcomes import mine_outcomes
from graph.sources import KINDS, get_source
from graph.sources import node_link as node_link_module
from graph.sources.graphml import parse_graphml
from graph.sources.snapshot import take


@pytest.fixture
def example():
    return memory(exchange(0), exchange(1))


@pytest.fixture
def file(tmp_path, example):
    return write(tmp_path / "memory.json", *example)


def test_edges_and_links_are_the_same(tmp_path, example):
    one = look(NODE_LINK, write(tmp_path / "m.json", *example, key="edges")).graph.episodes("x")
    other = look(NODE_LINK, write(tmp_path / "m.json", *example, key="links")).graph.episodes("x")
    assert one == other
    assert len(one) == 4


@pytest.mark.parametrize("key", ["edges", "links"])
def test_what_networkx_writes_is_read(tmp_path, example, key):
    graph = plain_graph(*example)
    path = tmp_path / "m.json"
    path.write_text(json.dumps(nx.node_link_data(graph, edges=key)))
    reading = look(NODE_LINK, path)
    assert [e.id for e in reading.graph.episodes("x")] == [
        e.id for e in MemoryGraph.from_records(*example).episodes("x")
    ]
    assert reading.problems == ()


def test_graphml_round_trip_has_the_same_episodes(tmp_path, example):
    halved = [{**e, "weight": 0.5} for e in example[1]]
    graph = plain_graph(example[0], halved)
    graph.add_node("p", kind="pattern", text='says "<&>"\n', name="x", positive_cues=json.dumps(["^yes"]))
    path = tmp_path / "m.graphml"
    nx.write_graphml(graph, path)
    reading = look(GRAPHML, path)
    assert [e.model_copy(update={"source_ref": ""}) for e in reading.graph.episodes("graphml")] == [
        e.model_copy(update={"source_ref": ""})
        for e in MemoryGraph.from_records(example[0], halved).episodes("graphml")
    ]
    assert reading.graph.node("p")["text"] == 'says "<&>"\n'
    assert reading.problems == ()


def test_graphml_defaults_types_and_hyperedges():
    text = b"""<graphml xmlns="http://graphml.graphdrawing.org/xmlns">
      <key id="k" for="node" attr.name="kind" attr.type="string"><default>session</default></key>
      <key id="t" for="node" attr.name="ts" attr.type="long"/>
      <key id="b" for="node" attr.name="flag" attr.type="boolean"/>
      <graph edgedefault="directed">
        <node id="s"><data key="t">later</data><data key="b">true</data></node><hyperedge id="h"/>
      </graph></graphml>"""
    records = parse_graphml(text, "m.graphml")
    assert records.nodes == ({"kind": "session", "id": "s", "ts": None, "flag": True},)
    assert len(records.problems) == 2


def test_an_unchanged_file_is_not_parsed(file, monkeypatch):
    first = look(NODE_LINK, file)

    def never(*_):
        raise AssertionError("parsed")

    monkeypatch.setattr(node_link_module, "parse_node_link", never)
    again = look(NODE_LINK, file, first.cursor)
    assert (again.changed, again.graph, again.cursor) == (False, None, first.cursor)
    os.utime(file, ns=(1, 1))  # another time, the same content: the hash decides
    assert not look(NODE_LINK, file, first.cursor).changed
    with pytest.raises(AssertionError):
        look(NODE_LINK, file)


def test_the_cursor_is_plain_json(file):
    cursor = look(NODE_LINK, file).cursor
    assert json.loads(json.dumps(cursor)) == cursor
    assert {"size", "mtime_ns", "sha256"} <= cursor.keys()


@pytest.mark.parametrize("accepted", ["Right, gRPC it is, and nothing else.", "Right, gRPC it iS."])
def test_a_change_is_seen_though_the_time_of_the_file_is_the_same(file, accepted):
    """Of another size, and of the same size with its time put back, as copying tools do."""
    stamp = file.stat().st_mtime_ns
    first = look(NODE_LINK, file)
    write(file, *memory(exchange(0, accepted=accepted), exchange(1)))
    os.utime(file, ns=(stamp, stamp))
    assert file.stat().st_mtime_ns == stamp
    second = look(NODE_LINK, file, first.cursor)
    assert second.changed
    assert accepted in responses(second)


def test_a_torn_file_names_line_and_column(tmp_path, example):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(node_link(*example), indent=1)[:-40])
    with pytest.raises(TornFileError, match=r"m\.json:\d\d\d:\d+: not JSON .*rename") as caught:
        look(NODE_LINK, path)
    assert caught.value.exit_code == 65
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", r"m\.json:1:1: the file is empty"),
        (b'{"nodes": ["\xff"]}', r"m\.json:1:13: not UTF-8"),
        (b"[" * 100_000, r"m\.json:1:1: cannot be read"),
        (b"[]", "no object at the top"),
        (b'{"edges": []}', "nodes: no list"),
        (b'{"nodes": []}', "edges: no list"),
        (b'{"nodes": [], "edges": {}}', "edges: no list"),
        (b'{"directed": false, "nodes": [], "edges": []}', "undirected"),
    ],
)
def test_what_is_no_memory_is_said_so(tmp_path, content, said):
    (tmp_path / "m.json").write_bytes(content)
    with pytest.raises(GraphError, match=said):
        look(NODE_LINK, tmp_path / "m.json")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<graphml><graph edgedefault='directed'><node id='a'>", r"m\.graphml:1:\d+: not XML \(no element found\)"),
        (b"", "not XML"),
        (b"<svg/>", "no <graph>"),
        (b"<graphml><graph edgedefault='undirected'/></graphml>", "undirected"),
        (b'<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><graphml>&b;</graphml>', "DOCTYPE x"),
    ],
)
def test_what_is_no_graphml_is_said_so(tmp_path, content, said):
    (tmp_path / "m.graphml").write_bytes(content)
    with pytest.raises(GraphError, match=said):
        look(GRAPHML, tmp_path / "m.graphml")


def test_nan_and_lone_surrogates_cost_only_themselves(tmp_path, example):
    nodes, edges = example
    path = write(
        tmp_path / "m.json", [*nodes, node("n", "note", "\ud83d odd")], [{**e, "weight": float("nan")} for e in edges]
    )
    assert "NaN" in path.read_text()
    reading = look(NODE_LINK, path)
    assert len(responses(reading)) == 4
    assert reading.graph.node("n")["text"] == "\ufffd odd"
    assert "values are NaN" in reading.problems[0].what


def test_a_byte_order_mark_is_no_matter(file):
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(responses(look(NODE_LINK, file))) == 4


def test_a_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "huge.json"
    with path.open("wb") as sparse:
        sparse.truncate(200 * 2**20)
    with pytest.raises(GraphError, match=r"209,715,200 bytes, more than max_bytes = 67,108,864; .*sources\.max_bytes"):
        look(NODE_LINK, path)
    with pytest.raises(GraphError, match="209,715,200 bytes"):
        look(NODE_LINK, tmp_path)


def test_many_files_that_are_huge_together_are_refused_too(tmp_path):
    sizes = [write(tmp_path / f"{n}.json", *memory(exchange(n))).stat().st_size for n in range(3)]
    assert look(get_source("node-link", max_bytes=sum(sizes)), tmp_path).changed
    with pytest.raises(GraphError, match=f"{sum(sizes):,} bytes, more than max_bytes"):
        look(get_source("node-link", max_bytes=sum(sizes) - 1), tmp_path)


def test_the_largest_size_can_be_set(file):
    size = file.stat().st_size
    assert look(get_source("node-link", max_bytes=size), file).changed
    with pytest.raises(GraphError, match=f"max_bytes = {size - 1:,}"):
        look(get_source("node-link", max_bytes=size - 1), file)


def test_what_is_not_there_is_66(tmp_path):
    with pytest.raises(SourceMissingError) as caught:
        look(NODE_LINK, tmp_path / "none.json")
    assert caught.value.exit_code == 66


def test_a_link_out_of_the_folder_is_refused(tmp_path, example):
    outside = write(tmp_path / "secret.json", *example)
    folder = tmp_path / "memory"
    folder.mkdir()
    write(folder / "own.json", *example)
    (folder / "link.json").symlink_to(outside)
    for named in (folder / "link.json", folder):
        with pytest.raises(GraphError, match=r"link\.json: a symbolic link out of"):
            look(NODE_LINK, named)


def test_a_link_within_the_folder_is_read(file):
    (file.parent / "latest.json").symlink_to(file.name)
    assert len(responses(look(NODE_LINK, file.parent / "latest.json"))) == 4


def test_links_in_a_circle_lead_nowhere(file):
    (file.parent / "a.json").symlink_to("b.json")
    (file.parent / "b.json").symlink_to("a.json")
    assert len(responses(look(NODE_LINK, file.parent))) == 4
    with pytest.raises(SourceMissingError):
        look(NODE_LINK, file.parent / "a.json")


def test_a_file_that_cannot_be_opened_is_said_so(file, monkeypatch):
    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(GraphError, match=r"memory\.json: cannot be read \(Permission denied\)"):
        look(NODE_LINK, file)


def test_a_named_pipe_is_refused_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(GraphError, match="not a regular file"):
        look(NODE_LINK, tmp_path / "pipe.json")


def test_a_file_that_changes_while_it_is_read_is_read_again(file):
    whole = file.read_bytes()
    times = []

    def meddle(path):
        times.append(1)
        if len(times) == 1:
            path.write_bytes(whole + b" ")

    assert take(file, file.parent, 2**20, meddle).data == whole + b" "
    assert len(times) == 2
    with pytest.raises(GraphError, match="changed while it was read"):
        take(file, file.parent, 2**20, lambda path: path.write_bytes(path.read_bytes() + b" "))


def test_reading_leaves_the_file_as_it_was(file):
    file.chmod(0o400)
    before = (file.read_bytes(), file.stat().st_mtime_ns, set(file.parent.iterdir()))
    look(NODE_LINK, file)
    assert (file.read_bytes(), file.stat().st_mtime_ns, set(file.parent.iterdir())) == before


def test_a_folder_is_all_its_files_and_each_has_ids_of_its_own(tmp_path):
    write(tmp_path / "a.json", *memory(exchange(0, accepted="Right, a.")))
    write(tmp_path / "b.json", *memory(exchange(0, accepted="Right, b.")))
    (tmp_path / "notes.txt").write_text("not read")
    (tmp_path / ".half.json").write_text("{")
    reading = look(NODE_LINK, tmp_path)
    assert sorted(responses(reading)) == ["I'd suggest plain HTTP instead.", "Right, a.", "Right, b."]
    assert reading.problems == ()
    refs = {e.source_ref for e in reading.graph.episodes("node-link")}
    assert f"node-link:{tmp_path / 'b.json'}:r-0b" in refs


def test_an_edge_may_lead_into_another_file_of_the_folder(tmp_path):
    write(tmp_path / "sessions.json", *memory(exchange(0)))
    pattern = [node("pat", "pattern", name="listening")]
    mark = [{"source": "r-0a", "target": "pat", "kind": "instance_of", "pole": "negative"}]
    write(tmp_path / "patterns.json", pattern, mark)
    bad = look(NODE_LINK, tmp_path).graph.episodes("x")[0]
    assert [(label.behaviour, label.pole) for label in bad.labels] == [("listening", "negative")]


def test_episodes_of_a_folder_stay_the_same_when_a_clashing_file_comes(tmp_path):
    write(tmp_path / "a.json", *memory(exchange(0, accepted="Right, a.")))
    before = {e.id for e in look(NODE_LINK, tmp_path).graph.episodes("x")}
    write(tmp_path / "b.json", *memory(exchange(0, accepted="Right, b.")))
    assert before < {e.id for e in look(NODE_LINK, tmp_path).graph.episodes("x")}


def test_a_folder_changes_when_a_file_comes_goes_or_changes(tmp_path, example):
    write(tmp_path / "a.json", *example)
    first = look(NODE_LINK, tmp_path)
    assert not look(NODE_LINK, tmp_path, first.cursor).changed
    os.utime(tmp_path / "a.json", ns=(5, 5))
    assert not look(NODE_LINK, tmp_path, first.cursor).changed
    write(tmp_path / "b.json", *memory(exchange(7)))
    second = look(NODE_LINK, tmp_path, first.cursor)
    assert (second.changed, len(responses(second))) == (True, 6)
    (tmp_path / "b.json").unlink()
    assert len(responses(look(NODE_LINK, tmp_path, second.cursor))) == 4


def test_a_torn_file_stops_its_folder_and_another_format_does_not(tmp_path, example):
    write(tmp_path / "a.json", *example)
    (tmp_path / "package.json").write_text('{"name": "x"}')
    reading = look(NODE_LINK, tmp_path)
    assert len(responses(reading)) == 4
    assert "package.json" in reading.problems[0].where
    (tmp_path / "torn.json").write_text('{"nodes": [')
    with pytest.raises(TornFileError, match=r"torn\.json:1:12"):
        look(NODE_LINK, tmp_path, reading.cursor)


def test_an_empty_folder_is_an_empty_memory(tmp_path):
    reading = look(NODE_LINK, tmp_path)
    assert (len(reading.graph), len(reading.problems)) == (0, 1)


def test_kinds():
    assert all(get_source(kind).kind == kind for kind in KINDS)
    with pytest.raises(GraphError, match=r"known are aider, basic-memory, claude-code, .*, node-link"):
        get_source("carrier-pigeon")


def test_outcomes_without_a_store(file):
    rows = mine_outcomes("node-link", file)
    assert [row.uuid for row in rows] == ["o-0a", "o-0b", "o-1a", "o-1b"]
    assert rows[0].model_dump(mode="json") == {
        "source_ref": f"node-link:{file}:r-0a",
        "uuid": "o-0a",
        "line": None,
        "polarity": "corrected",
        "signal": "human_turn",
        "weight": 0.8,
        "pairable": True,
        "text": "No.",
    }
