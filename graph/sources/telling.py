"""What a parser found in a conversation, told in the words of the memory: nodes and edges, each in one place only.

    direction ◀─responds_to─ response ─proposes─▶ proposal ─rejected_by─▶ outcome
        │                       ▲                    ▲
        └────────follows────────┘                    └──corrects── correction ◀─responds_to─ the next response

What the human types next is a direction that `follows` the response before it. Whether its words accept, reject or
correct that response is not for a parser to say: `graph.judging` reads these edges. A parser says only what the format
itself records (a rejected call, an undo, an approved plan): `outcome`.
"""

from dataclasses import dataclass, field
from typing import Any

from graph.schema import EdgeKind, NodeKind

MAX_TEXT = 16_000
"""Characters of one node: what is longer keeps its beginning and its end."""


def bounded(text: str, limit: int = MAX_TEXT) -> str:
    """`text`, or its beginning and its end with a mark between them."""
    if len(text) <= limit:
        return text
    half = (limit - 3) // 2
    return f"{text[:half]} … {text[-half:]}"


@dataclass
class Telling:
    """Collects raw nodes and edges of one file; a node that is told again replaces what was told before.

    `file` is what a person would open, `ts` UTC milliseconds or ISO 8601 text, `place` the byte offset of the record:
    None where the format has no such place, or one that moves; then the node's own id says where.
    """

    file: str
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    edges: list[dict[str, Any]] = field(default_factory=list)

    def session(self, session: str, **more: object) -> str:
        """A conversation; gives its node's id."""
        node_id = f"session:{session}"
        self._node(node_id, NodeKind.SESSION, "", None, None, native_id=session, **more)
        return node_id

    def direction(
        self,
        node_id: str,
        text: str,
        ts: object,
        session: str,
        place: int | None,
        follows: str | None = None,
        **more: object,
    ) -> str:
        """What the human typed; `session` is a node's id, `follows` the response that was there before it."""
        self._node(node_id, NodeKind.DIRECTION, text, ts, place, actor="human", **more)
        self._edge(node_id, session, EdgeKind.PART_OF, ts)
        if follows is not None:
            self._edge(node_id, follows, EdgeKind.FOLLOWS, ts)
        return node_id

    def response(
        self, node_id: str, text: str, ts: object, session: str, place: int | None, to: str | None, **more: object
    ) -> str:
        """What the agent said; `to` is the direction or the correction that it answers."""
        self._node(node_id, NodeKind.RESPONSE, text, ts, place, actor="agent", **more)
        self._edge(node_id, session, EdgeKind.PART_OF, ts)
        if to is not None:
            self._edge(node_id, to, EdgeKind.RESPONDS_TO, ts)
        return node_id

    def proposal(self, node_id: str, text: str, ts: object, response: str, place: int | None, **more: object) -> str:
        """A tool call or a plan that a response proposes."""
        self._node(node_id, NodeKind.PROPOSAL, text, ts, place, actor="agent", **more)
        self._edge(response, node_id, EdgeKind.PROPOSES, ts)
        return node_id

    def outcome(
        self,
        node_id: str,
        kind: EdgeKind,
        of: str | None,
        signal: str,
        text: str,
        ts: object,
        place: int | None,
        **more: object,
    ) -> str:
        """What the format itself records of how `of`, a response or proposal, ended; `text` is what the human said.

        `of` is None where what ended is not in the log.
        """
        self._node(node_id, NodeKind.OUTCOME, text, ts, place, actor="human", signal=signal, **more)
        if of is not None:
            self._edge(of, node_id, kind, ts, method="marker")
        return node_id

    def correction(self, node_id: str, text: str, ts: object, of: str, place: int | None, **more: object) -> str:
        """A new direction given with a rejection; the next response answers it."""
        self._node(node_id, NodeKind.CORRECTION, text, ts, place, actor="human", **more)
        self._edge(node_id, of, EdgeKind.CORRECTS, ts)
        return node_id

    def preference(self, node_id: str, text: str, ts: object, place: int | None, **more: object) -> str:
        """A lasting rule or preference of the human."""
        self._node(node_id, NodeKind.PREFERENCE, text, ts, place, actor="human", **more)
        return node_id

    def edge(self, source: str, target: str, kind: EdgeKind, ts: object = None, **more: object) -> None:
        """Any other edge."""
        self._edge(source, target, kind, ts, **more)

    def note(self, node_id: str, text: str, ts: object, place: int | None, **more: object) -> str:
        """Something remembered that is no direction, response or preference."""
        self._node(node_id, NodeKind.NOTE, text, ts, place, **more)
        return node_id

    def _node(self, node_id: str, kind: NodeKind, text: str, ts: object, place: int | None, **more: object) -> None:
        node: dict[str, Any] = {"id": node_id, "kind": kind, "text": bounded(text), "ts": ts, "file": self.file, **more}
        if place is not None:
            node["place"] = place
        self.nodes[node_id] = node

    def _edge(self, source: str, target: str, kind: EdgeKind, ts: object, **more: object) -> None:
        self.edges.append({"source": source, "target": target, "kind": kind, "ts": ts, **more})
