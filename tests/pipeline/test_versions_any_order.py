"""Evidence comes, goes and is dropped in any order; settings, template and weights change; versions follow the rule."""

import math
import os
import shutil
import tempfile
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from store import vectors
from tests.pipeline.evidence_life import Life

MIN_PAIRS, SHARE, COSINE = 4, Fraction(1, 5), 0.97
VERSIONS = (
    "SELECT id, root_digest, template_digest, recipe, state, stale_at IS NOT NULL, effect IS NOT NULL "
    "FROM vector_version ORDER BY id"
)
TEMPLATE = []
FUZZ = int(os.environ.get("REFLEXD_FUZZ", "1"))


@contextmanager
def fresh_life():
    """A life of its own, from a store that was made once."""
    if not TEMPLATE:
        TEMPLATE.append(Path(tempfile.mkdtemp()) / "reflexd.db")
        made = Life(TEMPLATE[0].parent)
        made.close()
        shutil.copy(made.home.database, TEMPLATE[0])
    folder = Path(tempfile.mkdtemp())
    (folder / "state").mkdir()
    shutil.copy(TEMPLATE[0], folder / "state" / "reflexd.db")
    life = Life(folder)
    try:
        yield life
    finally:
        life.close()
        shutil.rmtree(folder)


class World:
    """What is done to a life, and what the rule asks for, written down once more from its words."""

    def __init__(self, life):
        self.life = life
        self.live = {"train": set(), "test": set()}
        self.dropped = set()
        self.next = 0

    # ------------------------------------------------ what happens

    def come(self, side, n):
        new = set(range(self.next, self.next + n))
        self.next += n
        self.live[side] |= new
        self._show()

    def go(self, side, n):
        self.live[side] -= set(sorted(self.live[side])[:n])
        self._show()

    def come_back(self, side, n):
        """Of those that were there once, the newest that are not there now."""
        once = set(range(self.next)) - self.live["train"] - self.live["test"]
        known = {number for split, number in self.life.evidence_of("id > 0") if split == side}
        self.live[side] |= set(sorted(once & known)[-n:])
        self._show()

    def drop(self, side, last):
        if numbers := sorted(self.alive(side)):
            number = numbers[-1] if last else numbers[0]
            self.dropped.add((side, number))
            self.life.drop(number, side)

    def seed(self, seed, _):
        self.life.set(seed=seed)

    def template(self, template, _):
        self.life.process.template = template
        self.life.clock.advance(1)
        self.life.add_model()

    def weights(self, letter, path):
        self.life.process.digest = letter * 64
        self.life.clock.advance(1)
        self.life.add_model(path)

    def prove(self, convinced, _):
        self.life.process.convinced = convinced
        self.life.prove()

    def withdraw(self, *_):
        newest = self.life.rows("SELECT id, state FROM vector_version ORDER BY id DESC LIMIT 1")
        if newest and newest[0][1] in ("candidate", "extracted", "verified"):
            with self.life.store.write() as conn:
                vectors.withdraw(conn, newest[0][0], "no", self.life.clock.wall_ms(), "ann")

    def look(self, *_):
        before = self.life.rows(VERSIONS)
        wanted = self.is_due()
        self.life.look()
        after = self.life.rows(VERSIONS)
        assert len(after) - len(before) == int(wanted)
        if wanted:
            assert self.life.evidence_of(f"id = {after[-1][0]}") == self.evidence()
            assert after[-1][4:6] == ("extracted", 0)

    def _show(self):
        self.life.show(sorted(self.live["train"]), (), sorted(self.live["test"]))

    # ------------------------------------------------ what the rule says

    def alive(self, side):
        return {number for number in self.live[side] if (side, number) not in self.dropped}

    def evidence(self):
        return {(side, number) for side in self.live for number in self.alive(side)}

    def mine(self):
        """(template, seed) and the versions of the model in use, each with its evidence."""
        process = self.life.process
        recipe = f'{{"aggregator":"mean_difference","seed":{self.life.context.settings.extraction.seed}}}'
        rows = [row for row in self.life.rows(VERSIONS) if row[1] == process.digest]
        return (process.template, recipe), [(*row, self.life.evidence_of(f"id = {row[0]}")) for row in rows]

    def is_due(self):
        made_with, versions = self.mine()
        now = self.evidence()
        train = {pair for pair in now if pair[0] == "train"}
        if len(train) < MIN_PAIRS:
            return False
        for i, (_, _, template, recipe, state, stale, _, was) in enumerate(versions):
            replaced = state in ("verified", "superseded") and any(v[6] and v[5] for v in versions[i + 1 :])
            if (template, recipe) == made_with and was == now and not stale and not replaced:
                return False
        if not versions:
            return True
        _, _, template, recipe, state, stale, _, was = versions[-1]
        if stale or (template, recipe) != made_with:
            return True
        fed = {pair for pair in was if pair[0] == "train"}
        if Fraction(len(train ^ fed), len(fed)) >= SHARE and train != fed:
            return True
        if train != fed and turned(fed, train) <= COSINE:
            return True
        held_out, other = was - fed, now - train
        return state == "rejected" and held_out != other and len(held_out ^ other) >= SHARE * len(held_out)


def turned(before, after):
    """The cosine of two means whose pairs' noises are at right angles, where halves agree by 0.5."""
    each = sorted(before | after)
    noise = math.sqrt(len(before) / 2 * (1 - 0.5) / 0.5)
    rows = np.hstack([np.ones((len(each), 1)), noise * np.eye(len(each))])
    a, b = (rows[[pair in side for pair in each]].mean(axis=0) for side in (before, after))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


sides = st.sampled_from(["train", "train", "test"])
steps = st.one_of(
    st.tuples(st.just("come"), sides, st.integers(1, 6)),
    st.tuples(st.sampled_from(["go", "come_back"]), sides, st.integers(1, 4)),
    st.tuples(st.just("drop"), sides, st.booleans()),
    st.tuples(st.just("seed"), st.integers(0, 1), st.none()),
    st.tuples(st.just("template"), st.sampled_from(["t1", "t2"]), st.none()),
    st.tuples(st.just("weights"), st.sampled_from("ab"), st.sampled_from(["/models/tiny", "/models/other"])),
    st.tuples(st.just("prove"), st.sampled_from([True, True, False]), st.none()),
    st.tuples(st.sampled_from(["look", "look", "look", "withdraw"]), st.none(), st.none()),
)


def no_evidence_twice(world):
    """But where the earlier version is stale, or a later one that took its place."""
    rows = [(*row, frozenset(world.life.evidence_of(f"id = {row[0]}"))) for row in world.life.rows(VERSIONS)]
    for i, one in enumerate(rows):
        for j in range(i + 1, len(rows)):
            same = one[1:4] == rows[j][1:4] and one[7] == rows[j][7]
            assert not same or one[5] or any(v[5] and v[6] and v[1] == one[1] for v in rows[i + 1 : j])


def nothing_stale_is_served_once_enough_is_there(world):
    """After a look and a proof that convinces, unless a person withdrew what would be served."""
    world.look()
    world.prove(True, None)
    withdrawn = world.life.rows("SELECT 1 FROM vector_version WHERE state IN ('withdrawn', 'rejected')")
    if not withdrawn and len(world.alive("train")) >= MIN_PAIRS:
        assert world.life.rows("SELECT vector FROM serving JOIN vectors USING (vector) WHERE stale IS NOT NULL") == []


def the_view_counts_what_waits(world):
    _, versions = world.mine()
    newest = versions[-1][7] if versions else set()
    now = world.evidence()
    split = {
        side: ({p for p in now - newest if p[0] == side}, {p for p in newest - now if p[0] == side})
        for side in world.live
    }
    counts = (len(split["train"][0]), len(split["train"][1]), len(split["test"][0] | split["test"][1]))
    stale = bool(versions and versions[-1][5])
    told = world.life.rows("SELECT new_training, gone_training, held_out_changed, stale IS NOT NULL FROM waiting")
    assert told == ([(*counts, int(stale))] if any(counts) or stale else [])


@pytest.mark.slow
@settings(max_examples=60 * FUZZ, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(4, 12), st.lists(steps, max_size=14))
def test_versions_follow_the_evidence_in_any_order(first, happened):
    with fresh_life() as life:
        life.process.split_half = 0.5
        world = World(life)
        world.come("train", first)
        for name, *arguments in happened:
            getattr(world, name)(*arguments)
            the_view_counts_what_waits(world)
        nothing_stale_is_served_once_enough_is_there(world)
        no_evidence_twice(world)
