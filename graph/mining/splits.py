"""Which side of the split a session is on: train, validation or test; decided once, when it first brings a pair."""

from collections.abc import Mapping, Sequence

from graph.schema import Split

SHARES: Mapping[Split, float] = {"train": 0.60, "validation": 0.16, "test": 0.24}


def assign_splits(groups: Sequence[tuple[str, int]], existing: Mapping[str, Split]) -> dict[str, Split]:
    """A side for every group; `groups` are (group, number of pairs), in the order in which they are to be placed.

    A group of `existing` never moves: a new session must not turn test evidence into training evidence. A new group
    goes where most is missing: to a side that has no group yet, else to the side furthest below its share of pairs.
    Ties: train, then validation, then test. With three groups, placed one by one or together, each side has one, unless
    `existing` forbids it.
    """
    sides = dict(existing)
    pairs = dict.fromkeys(SHARES, 0)
    held = dict.fromkeys(SHARES, 0)
    for group, size in dict(groups).items():
        if group in sides:
            pairs[sides[group]] += size
            held[sides[group]] += 1
    for group, size in groups:
        if group in sides:
            continue
        total = sum(pairs.values()) + size
        side = max(SHARES, key=lambda split: (held[split] == 0, SHARES[split] * total - pairs[split]))
        sides[group] = side
        pairs[side] += size
        held[side] += 1
    return sides
