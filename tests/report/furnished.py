"""A store with two behaviours, three versions of one, jobs and a history, made by hand and without a model."""

import hashlib
import json

import numpy as np

from daemon.home import Home
from store import evidence, jobs, models, served, sources, vectors
from store.clock import ManualClock
from store.engine import Store
from tests.report.proofs import full_proof, refused_proof, training_result

MODEL = "a" * 64
LAYERS, WIDTH = 24, 8
SIDES = {"train": 8, "validation": 4, "test": 6}
DAY = 86_400_000


def direction(seed):
    """(layers, width) float32, the same for the same seed."""
    return np.random.default_rng(seed).normal(1.0, 1.0, (LAYERS, WIDTH)).astype("<f4")


class Furnished:
    """A home in `folder`; `listening` has a rejected, a superseded-to-be and a promoted version, `not_rushing` one."""

    def __init__(self, folder, proof=None):
        config = folder / "reflexd.toml"
        config.write_text("")
        self.home = Home(config, folder / "state")
        self.home.state.mkdir()
        self.clock = ManualClock()
        self.store = Store.open(self.home.database, self.clock)
        with self.store.write() as conn:
            self._ground(conn)
        self.refused("listening", refused_proof())
        self.proved("listening", 1, full_proof(effect=1.31, effect_interval=(1.0, 1.6)))
        self.proved("not_rushing", 2, full_proof())
        self.latest = self.proved("listening", 3, proof or full_proof())

    def close(self):
        self.store.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _ground(self, conn):
        now = self.clock.wall_ms()
        sources.add_source(conn, "node-link", "/memory.json", now)
        models.add_model(conn, MODEL, "smollm2", "/models/smollm2", WIDTH, LAYERS, "t1", now)
        models.set_current(conn, MODEL)
        for name, words in (("listening", "takes the direction as given"), ("not_rushing", "Takes the time it needs")):
            row = evidence.BehaviourRow(name, words, "does as asked", "suggests another way", (), (), "1", "builtin")
            evidence.save_behaviours(conn, [row], now)
            self._pairs(conn, name)

    def _pairs(self, conn, behaviour):
        now, rows, episodes = self.clock.wall_ms(), [], []
        for side, n in SIDES.items():
            sessions = {f"{side}-{i % 2}": side for i in range(n)}
            evidence.save_splits(conn, sessions, now)
            for i in range(n):
                key = hashlib.sha256(f"{behaviour} {side} {i}".encode()).hexdigest()
                told = (f"e{key}+", f"e{key}-")
                rows.append(
                    evidence.PairRow(
                        key, behaviour, json.dumps(f"do {i}"), "yes", "no", f"{side}-{i % 2}", side, 0.5, told
                    )
                )
                episodes += [self._episode(each, f"{side}-{i % 2}", now + (i % 3) * DAY) for each in told]
        evidence.save_episodes(conn, 1, {each.response_node for each in episodes}, episodes, now)
        evidence.replace_pairs(conn, behaviour, rows, now)

    def _episode(self, key, session, ts):
        return evidence.EpisodeRow(
            id=key,
            session=session,
            direction_id=f"d{key}",
            direction="do",
            response="yes",
            outcome="accepted",
            signal="human_turn",
            weight=0.5,
            pairable=True,
            source_ref=f"node-link:/memory.json:{key}",
            ts=ts,
            words="",
            response_node=f"n{key}",
        )

    def extracted(self, behaviour, seed):
        """A new version with its matrix."""
        self.clock.advance(DAY)
        matrix = direction(seed).tobytes()
        layers = [{"layer": i, "median_residual_norm": 2.0, "coherence": 0.5} for i in range(LAYERS)]
        lineage = {
            "layers": layers,
            "because": "new evidence",
            "code_version": "0.1.0",
            "python": "3.12",
            "libraries": {"torch": "2.13"},
        }
        with self.store.write() as conn:
            sides = {row.id: row.split for row in evidence.live_pairs(conn, behaviour)}
            made = vectors.create_candidate(
                conn,
                behaviour,
                MODEL,
                MODEL,
                hashlib.sha256(f"{behaviour}{seed}".encode()).hexdigest(),
                json.dumps({"aggregator": "mean_difference"}),
                json.dumps(lineage),
                sides,
                self.clock.wall_ms(),
            )
            sha = hashlib.sha256(matrix).hexdigest()
            vectors.mark_extracted(conn, made.id, sha, LAYERS, WIDTH, matrix, self.clock.wall_ms())
        return made

    def proved(self, behaviour, seed, proof):
        """A new version that is verified with this proof, and served."""
        made = self.extracted(behaviour, seed)
        with self.store.write() as conn:
            numbers = (proof.layer, proof.dose, proof.coefficient, proof.effect, proof.effect_interval)
            vectors.mark_verified(conn, made.id, *numbers, proof.model_dump_json(), self.clock.wall_ms())
            served.serve(conn, made.id, proof.dose, proof.coefficient, True, self.clock.wall_ms())
        return made

    def refused(self, behaviour, proof):
        """A new version that is rejected with this proof."""
        made = self.extracted(behaviour, 9)
        with self.store.write() as conn:
            vectors.reject(conn, made.id, proof.reason, self.clock.wall_ms(), report=proof.model_dump_json())
        return made

    def awaits_approval(self):
        """The newest `listening` is promoted; a person decides."""
        self.clock.advance(DAY)
        with self.store.write() as conn:
            return vectors.promote(conn, self.latest.id, "awaiting_approval", 3, self.clock.wall_ms())

    def trained(self, passed=True, folder="/weights"):
        """The newest `listening` was trained into the weights, or missed its gates."""
        self.clock.advance(DAY)
        now, result = self.clock.wall_ms(), training_result(passed)
        with self.store.write() as conn:
            vectors.promote(conn, self.latest.id, "queued", 3, now)
            mine = jobs.claim(conn, "host:boot:1", 60_000, now)
            if not passed:
                jobs.fail(conn, mine, f"gate: {result.reason}", now, retry_in_ms=None, result=result.model_dump_json())
                return
            weights = {"digest": "e" * 64, "name": "smollm2+listening@3", "path": str(folder), "hidden_size": WIDTH}
            weights |= {"n_layers": LAYERS, "template_digest": "t1", "root_digest": MODEL, "parent_digest": MODEL}
            jobs.finish(conn, mine, weights, result.model_dump_json(), now)
