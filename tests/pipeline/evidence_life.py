"""A store whose evidence comes and goes, and a model process that answers at once, without a model.

Each pair has a direction of its own, so that equal evidence gives equal vectors and other evidence others.
"""

import hashlib
from dataclasses import dataclass, field

import numpy as np

from daemon.errors import DataError
from daemon.home import find_home
from daemon.pipeline import Context
from daemon.pipeline.extract import extract
from daemon.pipeline.mine import pair_row
from daemon.pipeline.verify import verify
from daemon.protocol import ExtractReport, LayerStatistics, Placement, RecheckReport, SideEffects, VerifyReport
from daemon.settings import load_settings
from daemon.steering.vector_file import VectorFile, describe, save
from graph.schema import Pair, pairs_digest
from store import evidence, models, sources
from store.clock import ManualClock
from store.engine import Store

LAYERS, WIDTH = 3, 8
SESSIONS = {"train": ("s-train",), "validation": ("s-validation",), "test": ("s-test", "s-test-2")}
NOTHING = dict.fromkeys(("layer", "dose", "coefficient", "effect", "effect_interval", "base_gap", "steered_gap"))


def difference(pair):
    """(layers, width) float64, the same for the same pair."""
    seed = int.from_bytes(hashlib.sha256(pair.id.encode()).digest()[:8])
    return 1.0 + np.random.default_rng(seed).normal(0, 1, (LAYERS, WIDTH))


def side_effects(kl):
    return SideEffects(kl_mean=0.1, kl_p95=kl, kl_rmse=0.2, perplexity=2.0, perplexity_base=1.9, n_positions=9)


@dataclass
class FakeModel:
    """Answers `extract` and `verify` for whatever model the store has current."""

    digest: str = "a" * 64
    template: str = "t1"
    split_half: float = 0.9
    convinced: bool = True
    layers: int = LAYERS
    libraries: dict = field(default_factory=lambda: {"torch": "2.9.1", "numpy": "2.3.0"})
    asked: dict = field(default_factory=dict)  # the last request of each operation
    placements: tuple = (Placement(layer=1, dose=0.25, coefficient=1.5),)
    proved: tuple = (0.72, 1.1)  # the interval of the effect that a proof finds
    interval: tuple = (0.6, 1.0)  # what a recheck finds, and the neutral KL
    kl: float = 0.3

    def ask(self, operation, request, report, **_):
        self.asked[operation] = request
        answers = {"extract": self._extract, "verify": self._verify, "recheck": self._recheck, "train": self._train}
        return answers[operation](request)

    def _train(self, request):
        raise DataError("nothing to learn here")

    def _recheck(self, request):
        return RecheckReport(
            effect=sum(self.interval) / 2,
            effect_interval=self.interval,
            side_effects=side_effects(self.kl),
            n_test=len(request.test),
            n_groups=2,
            model_digest=self.digest,
            template_digest=self.template,
            seconds=1.0,
        )

    def _extract(self, request):
        matrix = np.mean([difference(pair) for pair in request.pairs], axis=0)[: self.layers].astype("<f4")
        norms = [1.0] * self.layers
        digests = (self.digest, self.template)
        metadata = describe(request.behaviour, request.pairs, *digests, norms, norms, request.aggregator)
        save(request.out, VectorFile(matrix, metadata))
        statistics = [
            LayerStatistics(
                layer=i, vector_norm=1, median_residual_norm=1, coherence=0.5, split_half_cosine=self.split_half
            )
            for i in range(self.layers)
        ]
        return ExtractReport(
            path=request.out,
            sha256=hashlib.sha256(matrix.tobytes()).hexdigest(),
            n_layers=self.layers,
            hidden_size=WIDTH,
            n_pairs=len(request.pairs),
            pairs_digest=pairs_digest(request.pairs),
            model_digest=self.digest,
            template_digest=self.template,
            layers=tuple(statistics),
            seconds=0.5,
            libraries=self.libraries,
            device="cpu",
            threads=2,
        )

    def _verify(self, request):
        if not self.convinced:
            return VerifyReport(
                verdict="refused", reason="too little", steerability=None, anti_steerable=None, **NOTHING
            )
        return VerifyReport(
            verdict="verified",
            reason="",
            layer=1,
            dose=0.25,
            coefficient=1.5,
            effect=sum(self.proved) / 2,
            effect_interval=self.proved,
            base_gap=0.1,
            steered_gap=1.0,
            steerability=3.0,
            anti_steerable=0.0,
            placements=self.placements,
            side_effects=side_effects(0.3),
        )


class Life:
    """A home in `folder` with one behaviour, one model, and the pairs that `show` says."""

    def __init__(self, folder):
        config = folder / "reflexd.toml"
        config.write_text("[extraction]\nmin_pairs = 4\n")
        self.home = find_home(config)
        self.home.state.mkdir(exist_ok=True)
        self.clock = ManualClock()
        new = not self.home.database.exists()
        self.store = Store.open(self.home.database, self.clock)
        self.process = FakeModel()
        self.said = []
        self.context = Context(load_settings(config), self.home, self.store, self.process, say=self.said.append)
        if new:
            self._begin()

    def _begin(self):
        with self.store.write() as conn:
            sources.add_source(conn, "node-link", "/memory.json", self.clock.wall_ms())
            row = evidence.BehaviourRow("listening", "", "", "", ("yes",), ("no",), "1", "builtin")
            evidence.save_behaviours(conn, [row], self.clock.wall_ms())
            evidence.save_splits(
                conn, {name: side for side, names in SESSIONS.items() for name in names}, self.clock.wall_ms()
            )
        self.add_model()

    def close(self):
        self.store.close()

    def set(self, **extraction):
        """Other settings of extraction from now on."""
        own = self.context.settings
        changed = own.extraction.model_copy(update=extraction)
        settings = own.model_copy(update={"extraction": changed})
        self.context = Context(settings, self.home, self.store, self.process, say=self.said.append)

    def add_model(self, path="/models/tiny"):
        """`reflexd model add` of what the fake model is now."""
        with self.store.write() as conn:
            shape = (WIDTH, LAYERS, self.process.template, self.clock.wall_ms())
            models.add_model(conn, self.process.digest, "tiny", path, *shape)
            models.set_current(conn, self.process.digest)

    def pair(self, number, split="train"):
        """Pair `number` of a side."""
        return Pair(
            behaviour="listening",
            prompt=f"please change {split} file {number}",
            positive=f"yes, {number}",
            negative=f"no, not {number}",
            group=SESSIONS[split][number % len(SESSIONS[split])],
            weight=0.5,
            episodes=(f"{split}{number}+", f"{split}{number}-"),
        )

    def show(self, train=(), held_out=(), test=()):
        """The memory says these pairs, and no others."""
        self.clock.advance(1000)
        sides = {"train": train, "validation": held_out, "test": test}
        pairs = [(self.pair(number, side), side) for side, numbers in sides.items() for number in numbers]
        episodes = [self._episode(pair, i) for pair, _ in pairs for i in (0, 1)]
        with self.store.write() as conn:
            nodes = {each.response_node for each in episodes}
            evidence.save_episodes(conn, 1, nodes, episodes, self.clock.wall_ms())
            rows = [pair_row(pair, side) for pair, side in pairs]
            evidence.replace_pairs(conn, "listening", rows, self.clock.wall_ms())

    def _episode(self, pair, side):
        name = pair.episodes[side]
        outcome, response = (("accepted", pair.positive), ("rejected", pair.negative))[side]
        return evidence.EpisodeRow(
            id=name,
            session=pair.group,
            direction_id=f"d{name[:-1]}",
            direction=pair.prompt,
            response=response,
            outcome=outcome,
            signal="human_turn",
            weight=0.5,
            pairable=True,
            source_ref=f"node-link:/memory.json:{name}",
            ts=self.clock.wall_ms(),
            words="",
            response_node=f"node of {name}",
        )

    def drop(self, number, split="train"):
        """A person drops the pair."""
        self.clock.advance(1000)
        with self.store.write() as conn:
            evidence.drop_pair(conn, self.pair(number, split).id, self.clock.wall_ms(), "ann")

    def look(self):
        """The extract stage until it finds nothing more; what it said."""
        self.clock.advance(1000)
        self.said.clear()
        while extract(self.context):
            pass
        return list(dict.fromkeys(self.said))

    def prove(self):
        """The verify stage until it finds nothing more."""
        self.clock.advance(1000)
        while verify(self.context):
            pass

    def rows(self, sql):
        """What a query gives, as tuples."""
        with self.store.read() as conn:
            return [tuple(row) for row in conn.exec_driver_sql(sql).all()]

    def versions(self):
        """{name: state}."""
        return dict(self.rows("SELECT behaviour || '@' || version, state FROM vector_version ORDER BY id"))

    def fed(self, name):
        """The training pairs' numbers of a version."""
        version = name.partition("@")[2]
        return {number for split, number in self.evidence_of(f"version = {version}") if split == "train"}

    def evidence_of(self, which):
        """{(split, number)} of the version that a condition names."""
        sql = (
            "SELECT f.split, p.prompt FROM vector_version v JOIN vector_pair f ON f.vector_id = v.id "
            f"JOIN pair p ON p.id = f.pair_id WHERE v.{which}"
        )
        return {(split, int(prompt.strip('"').rpartition(" ")[2])) for split, prompt in self.rows(sql)}
