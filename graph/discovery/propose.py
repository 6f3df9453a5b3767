"""Behaviours that nobody named yet: groups of corrections that say the same, proposed with their evidence.

    corrections ─▶ words, opening ─▶ nearest neighbours ─▶ communities (Louvain) ─▶ what holds together ─▶ proposals

A group is proposed if it is large enough, comes from enough sessions, and shares words that others lack and that stand
together more often than chance would have it. Words that only one session uses are its matter and are not looked at.
A proposal does nothing until a person adopts it. The same episodes give the same proposals, in any order.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import networkx as nx
from pydantic import Field

from graph.discovery.corrections import (
    OPENING_WORDS,
    STOP,
    Correction,
    Wording,
    corrections_of,
    matter_of,
    stem,
    unexplained,
    vectors_of,
)
from graph.discovery.phrases import Phrase, as_cue, characteristic
from graph.mining.similarity import STOPWORDS, content_words, neighbours
from graph.mining.stance import opening
from graph.schema import Behaviour, Episode, Frozen, Outcome

__all__ = ["DiscoveryLimits", "Proposal", "propose_behaviours"]

_SEED = 0
_CUE_WORDS = 4
_FINEST = 4.0
_SMALLEST = 3
_MOST_SHARED = 0.5
_QUOTE = 160
_LONGEST_NAME = 60


class DiscoveryLimits(Frozen):
    """What a group of corrections must be to be proposed."""

    least_episodes: int = Field(default=4, ge=2, description="Fewest corrections of a group.")
    least_sessions: int = Field(default=3, ge=1, description="Fewest sessions that they come from.")
    most_episodes: int = Field(default=4000, ge=2, description="Most corrections that are looked at, the latest ones.")
    neighbours: int = Field(default=8, ge=1, description="Neighbours by which each correction is tied to others.")
    likeness: float = Field(default=0.2, ge=0, le=1, description="How alike two corrections must be to be tied.")
    core_share: float = Field(default=0.5, gt=0, le=1, description="Share of a group that uses each of its core words.")
    core_words: int = Field(default=2, ge=1, description="Fewest core words of a group.")
    excess: float = Field(
        default=4.5, ge=0, description="How far core words must stand together beyond chance, in standard deviations."
    )
    cohesion: float = Field(default=0.2, ge=0, le=1, description="Least mean likeness of a group's neighbours.")
    core_lift: float = Field(default=3.0, ge=1, description="How many times as common as elsewhere a core word is.")


class Proposal(Frozen):
    """A behaviour that may be there, with what speaks for it.

    `episodes` are the group's ids, the most typical first; `cohesion` is the mean likeness within it, from 0 to 1.
    """

    name: str
    description: str
    terms: tuple[str, ...]
    size: int
    sessions: int
    cohesion: float
    episodes: tuple[str, ...]
    examples: tuple[str, ...]
    positive_cues: tuple[str, ...] = ()
    negative_cues: tuple[str, ...] = ()

    def behaviour(self) -> Behaviour:
        """What a person adopts, and may edit: without positive cues nothing shows the positive pole yet."""
        return Behaviour(
            name=self.name,
            description=self.description,
            positive_cues=self.positive_cues,
            negative_cues=self.negative_cues,
            version="proposed",
        )


def propose_behaviours(
    episodes: Sequence[Episode],
    known: Sequence[Behaviour] = (),
    limits: DiscoveryLimits = DiscoveryLimits(),  # noqa: B008
) -> list[Proposal]:
    """Groups among the corrections that no behaviour of `known` explains, the largest first.

    Raises:
        GraphError: A cue of a known behaviour is no usable regular expression.
    """
    ordered = sorted(episodes, key=lambda episode: (episode.ts, episode.id))
    corrections = corrections_of([e for e in ordered if unexplained(e, known)][-limits.most_episodes :])
    if not corrections:
        return []
    taken = {behaviour.name for behaviour in known}
    proposals: list[Proposal] = []
    for group in _apart(_groups(corrections, matter_of(ordered[-limits.most_episodes :]), limits)):
        proposal = _proposal(group, corrections, ordered[-limits.most_episodes :], taken)
        if proposal is not None:
            proposals.append(proposal)
            taken.add(proposal.name)
    return sorted(proposals, key=lambda proposal: (-proposal.size, proposal.name))


@dataclass(frozen=True)
class _Group:
    """Corrections that hold together: indices, the most typical first, their cohesion and what they share."""

    members: tuple[int, ...]
    cohesion: float
    core: tuple[str, ...]


def _groups(corrections: Sequence[Correction], matter: Collection[str], limits: DiscoveryLimits) -> list[_Group]:
    """Groups among the corrections; a community that shares nothing is divided again, as long as it can be."""
    graph: nx.Graph[int] = nx.Graph()
    graph.add_nodes_from(range(len(corrections)))
    graph.add_weighted_edges_from(neighbours(vectors_of(corrections), limits.neighbours, limits.likeness))
    wording = Wording(corrections, matter)
    found: list[_Group] = []
    waiting = [(graph, 1.0)]
    while waiting:
        whole, resolution = waiting.pop()
        if whole.number_of_edges() == 0 or resolution > _FINEST:
            continue
        parts = nx.community.louvain_communities(whole, weight="weight", resolution=resolution, seed=_SEED)
        for part in sorted(map(sorted, parts)):
            group = _group(part, graph, wording, limits) if len(part) >= _SMALLEST else None
            if group is not None:
                found.append(group)
            elif len(part) >= 2 * _SMALLEST:
                waiting.append((_ordered(graph, part), 2 * resolution))
    return found


def _apart(groups: Sequence[_Group]) -> list[_Group]:
    """The largest groups, without those that mostly say what a larger one says."""
    kept: list[_Group] = []
    for group in sorted(groups, key=lambda group: (-len(group.members), group.members)):
        members = set(group.members)
        if all(len(members & set(other.members)) <= _MOST_SHARED * len(members) for other in kept):
            kept.append(group)
    return kept


def _ordered(graph: "nx.Graph[int]", part: Sequence[int]) -> "nx.Graph[int]":
    """The part with its nodes in order, which a seeded shuffle of them needs in order to be the same each time."""
    copy: nx.Graph[int] = nx.Graph()
    copy.add_nodes_from(part)
    copy.add_edges_from(sorted(graph.subgraph(part).edges(data=True)))
    return copy


def _group(part: Sequence[int], graph: "nx.Graph[int]", wording: Wording, limits: DiscoveryLimits) -> _Group | None:
    """Who uses the core words of a community, also outside of it; None if it has none, or they meet as by chance."""
    core = wording.core(part, limits.core_share, limits.core_lift)
    used = Counter(index for word in core for index in wording.holding[word])
    firm = [index for index, words in used.items() if words > 1]
    members = sorted({*firm, *used.keys() & set(part)})
    sessions = {wording.corrections[index].episode.session for index in firm}
    if len(core) < limits.core_words or len(firm) < limits.least_episodes or len(sessions) < limits.least_sessions:
        return None
    if wording.excess(core) < limits.excess:
        return None
    inner = graph.subgraph(members)
    possible = len(members) * min(len(members) - 1, limits.neighbours) / 2
    typical = sorted(members, key=lambda index: (-round(inner.degree(index, weight="weight"), 9), index))
    cohesion = round(min(1.0, inner.size(weight="weight") / possible), 4)
    return _Group(tuple(typical), cohesion, core) if cohesion >= limits.cohesion else None


def _proposal(
    group: _Group, corrections: Sequence[Correction], episodes: Sequence[Episode], taken: Collection[str]
) -> Proposal | None:
    members = [corrections[index] for index in group.members]
    surface = _surfaces(members)
    terms = [surface.get(t, t) for t in _in_order(group.core[:3], [c.words for c in members])]
    name = _free_name(terms, taken)
    if name is None:
        return None
    sessions = len({c.episode.session for c in members})
    negative = [c.episode for c in members]
    ids = {episode.id for episode in negative}
    return Proposal(
        name=name,
        description=f"{len(members)} corrections in {sessions} sessions speak of {', '.join(terms)}",
        terms=tuple(surface.get(word, word) for word in group.core),
        size=len(members),
        sessions=sessions,
        cohesion=group.cohesion,
        episodes=tuple(episode.id for episode in negative),
        examples=tuple(_quoted(episode.words) for episode in negative[:3]),
        positive_cues=_cues(_taken_up(negative, episodes), negative),
        negative_cues=_cues(negative, [episode for episode in episodes if episode.id not in ids]),
    )


def _quoted(words: str) -> str:
    text = " ".join(words.split())
    return text if len(text) <= _QUOTE else f"{text[: _QUOTE - 2]} …"


def _in_order(terms: Sequence[str], texts: Sequence[Sequence[str]]) -> list[str]:
    """`terms` as they mostly follow each other."""
    places = {t: [words.index(t) / len(words) for words in texts if t in words] for t in terms}
    return sorted(terms, key=lambda term: (sum(places[term]) / max(len(places[term]), 1), term))


def _surfaces(members: Sequence[Correction]) -> dict[str, str]:
    """The commonest word that each stem stands for."""
    seen = Counter(word for c in members for word in content_words(c.episode.words, STOP))
    found: dict[str, str] = {}
    for word, _ in sorted(seen.items(), key=lambda entry: (-entry[1], entry[0])):
        found.setdefault(stem(word), word)
    return found


def _free_name(terms: Sequence[str], taken: Collection[str]) -> str | None:
    """A name of the terms that no other behaviour has; None if no letter of them can stand in a name."""
    name = re.sub(r"[^a-z0-9]+", "_", "_".join(term.replace("'", "") for term in terms).lower()).strip("_0123456789")[
        :_LONGEST_NAME
    ]
    if not name:
        return None
    return next(free for free in (name, *(f"{name}_{n}" for n in range(2, len(taken) + 3))) if free not in taken)


def _taken_up(negative: Sequence[Episode], episodes: Sequence[Episode]) -> list[Episode]:
    """Accepted responses to the directions of the corrected ones."""
    threads = {(e.session, e.direction_id) for e in negative}
    return [e for e in episodes if e.outcome is Outcome.ACCEPTED and (e.session, e.direction_id) in threads]


def _cues(showing: Sequence[Episode], others: Sequence[Episode]) -> tuple[str, ...]:
    """Phrases that open the responses of `showing` and not those of `others`, as regular expressions."""
    if len(showing) < 2:
        return ()
    here, there = ([content_words(opening(e.response, OPENING_WORDS), ()) for e in side] for side in (showing, others))
    chosen: list[Phrase] = []
    for phrase in characteristic(here, there, _CUE_WORDS, 0.3, 3.0):
        telling = len(phrase.words) > 1 and any(word not in STOPWORDS and word != "0" for word in phrase.words)
        if telling and not any(_within(one.words, phrase.words) or _within(phrase.words, one.words) for one in chosen):
            chosen.append(phrase)
    return tuple(as_cue(phrase.words) for phrase in chosen[:6])


def _within(short: tuple[str, ...], long: tuple[str, ...]) -> bool:
    return any(long[at : at + len(short)] == short for at in range(len(long) - len(short) + 1))
