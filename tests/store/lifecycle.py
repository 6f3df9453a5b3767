"""A life of a vector in a few calls, with two episodes, one pair and a tiny model behind it."""

import hashlib
import struct
from contextlib import contextmanager, suppress

from store import evidence, jobs, models, sources, vectors
from store.served import serve

BASE = "a" * 64
MATRIX = struct.pack("<8f", *range(1, 9))
MATRIX_SHA = hashlib.sha256(MATRIX).hexdigest()
NOW = 1_700_000_000_000


class PowerCut(Exception):
    """Something fails before the commit."""


@contextmanager
def rolled_back(store):
    """A transaction that never commits."""
    with suppress(PowerCut), store.write() as conn:
        yield conn
        raise PowerCut


def episode(name, outcome="accepted", session="s1", **changes):
    return evidence.EpisodeRow(
        **{
            "id": name,
            "session": session,
            "direction_id": "d1",
            "direction": "Keep the tests in one file.",
            "response": f"response {name}",
            "outcome": outcome,
            "signal": "human_turn",
            "weight": 0.5,
            "pairable": True,
            "source_ref": f"node-link:memory.json:{name}",
            "ts": NOW,
            "words": "",
            "response_node": f"node of {name}",
        }
        | changes
    )


def pair(name="p1", session="s1", split="train", episodes=("yes", "no"), behaviour="listening"):
    prompt = '[{"role":"user","content":"Keep the tests in one file."}]'
    return evidence.PairRow(name, behaviour, prompt, "Done.", "Two are better.", session, split, 0.5, episodes)


def save(conn, episodes, now=NOW, source=1, also=()):
    """Make these the episodes of their responses, and of the responses of the episodes named in `also`."""
    responses = {each.response_node for each in episodes} | {f"node of {name}" for name in also}
    return evidence.save_episodes(conn, source, responses, episodes, now)


def behaviour(name="listening", **changes):
    cues = {"positive_cues": ("done",), "negative_cues": ("instead",)}
    return evidence.BehaviourRow(name, "hears", "takes it", "argues", **cues, version="1", origin="builtin", **changes)


def seed(conn, now=NOW):
    """A source with two episodes, a behaviour, a pair, and the base model, current."""
    source = sources.add_source(conn, "node-link", "/memory.json", now)
    save(conn, [episode("yes"), episode("no", "rejected")], now, source.id)
    evidence.save_behaviours(conn, [behaviour()], now)
    evidence.save_splits(conn, {"s1": "train"}, now)
    evidence.replace_pairs(conn, "listening", [pair()], now)
    models.add_model(conn, BASE, "tiny", "/models/tiny", 4, 2, "template", now)
    models.set_current(conn, BASE)
    return source


def candidate(conn, evidence_digest="e1", now=NOW):
    return vectors.create_candidate(
        conn, "listening", BASE, BASE, evidence_digest, '{"seed":0}', "{}", {"p1": "train"}, now
    ).id


def extracted(conn, evidence_digest="e1", now=NOW):
    vector = candidate(conn, evidence_digest, now)
    vectors.mark_extracted(conn, vector, MATRIX_SHA, 2, 4, MATRIX, now)
    return vector


def verify(conn, vector, now=NOW):
    vectors.mark_verified(conn, vector, 1, 0.2, 1.5, 0.9, (0.5, 1.2), '{"verdict":"verified"}', now)
    serve(conn, vector, 0.2, 1.5, True, now)


def verified(conn, evidence_digest="e1", now=NOW):
    vector = extracted(conn, evidence_digest, now)
    verify(conn, vector, now)
    return vector


def queued(conn, evidence_digest="e1", now=NOW, max_attempts=3):
    """(vector, job), the job queued."""
    vector = verified(conn, evidence_digest, now)
    return vector, vectors.promote(conn, vector, "queued", max_attempts, now)


def weights(letter="b", parent=BASE):
    """What `finish` records about trained weights."""
    return {
        "digest": letter * 64,
        "name": f"tiny+{letter}",
        "path": f"/models/{letter}",
        "hidden_size": 4,
        "n_layers": 2,
        "template_digest": "template",
        "root_digest": BASE,
        "parent_digest": parent,
    }


def state_of(conn, vector):
    return vectors.by_id(conn, vector).state


def job_state(conn, job):
    return jobs.get_job(conn, job).state
