"""Memory formats, one module each, behind one protocol (`graph.sources.base.MemorySource`)."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from graph.errors import GraphError
from graph.sources.base import DEFAULT_MAX_BYTES, MemorySource
from graph.sources.graphml import GraphMLSource
from graph.sources.node_link import NodeLinkSource

_KINDS: Mapping[str, Callable[[int], MemorySource]] = {"node-link": NodeLinkSource, "graphml": GraphMLSource}

SOURCES: Mapping[str, MemorySource] = MappingProxyType({kind: make(DEFAULT_MAX_BYTES) for kind, make in _KINDS.items()})


def get_source(kind: str, max_bytes: int = DEFAULT_MAX_BYTES) -> MemorySource:
    """The source of a kind, which refuses files larger than `max_bytes`.

    Raises:
        GraphError: No such kind; the message lists those there are.
    """
    if kind not in _KINDS:
        raise GraphError(f"{kind[:40]}: unknown kind of source; known are {', '.join(sorted(_KINDS))}")
    return _KINDS[kind](max_bytes)
