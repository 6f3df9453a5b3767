"""Writing a log of any format, and reading it as the store would."""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read_by(source, path, seen=None):
    """All nodes by id, all edges, and the cursors that an interrupted reader would go on from."""
    nodes, edges, cursors = {}, set(), dict(seen or {})
    for batch in source.read(path, dict(seen or {})):
        nodes.update({node["id"]: node for node in batch.nodes})
        edges |= {(edge["source"], edge["target"], edge["kind"].value) for edge in batch.edges}
        cursors[batch.unit] = batch.cursor
    return nodes, edges, cursors
