"""The page of a version says everything that was measured, to everybody, and runs nothing."""

import re

import pytest

from daemon.report.page import version_page
from daemon.report.read import read_version
from store.reader import open_reader
from tests.report.furnished import Furnished
from tests.report.pages import Seen, addresses
from tests.report.proofs import DIRECTIONS, full_proof

EVIL = "<script>alert('x')</script><img src=x onerror=alert(1)>"


def made(folder, name="listening@3", proof=None, trained=None):
    with Furnished(folder, proof) as home:
        if trained is not None:
            home.trained(trained)
        with open_reader(home.home.database) as reader:
            found = read_version(reader, name)
    return found, version_page(found)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return made(tmp_path_factory.mktemp("home"), trained=True)


@pytest.fixture(scope="module")
def page(whole):
    return whole[1]


@pytest.fixture(scope="module")
def text(page):
    return Seen(page).text


def test_it_is_html_with_a_title_and_a_language(page):
    seen = Seen(page)
    assert page.startswith("<!doctype html>")
    assert seen.torn == []
    assert "listening@3 · reflexd" in seen.words
    assert ("html", "lang", "en") in seen.attributes
    assert any("width=device-width" in value for value in seen.values("content"))


def test_it_runs_nothing_and_asks_for_nothing(page):
    seen = Seen(page)
    assert not {"script", "link", "img", "iframe", "object", "embed", "form"} & set(seen.tags)
    assert addresses(page) == []
    assert [
        name for _, name, _ in seen.attributes if name.startswith("on") or name in ("src", "srcset", "action")
    ] == []
    assert any("default-src 'none'" in value for value in seen.values("content"))


def test_every_id_is_there_once_and_what_is_pointed_to_exists(page):
    ids = Seen(page).values("id")
    pointed = set(re.findall(r"url\(#([^)]+)\)", page)) | {each[1:] for each in Seen(page).values("href")}
    assert len(ids) == len(set(ids))
    assert pointed <= set(ids)


def test_the_same_version_gives_the_same_bytes(whole):
    found, page = whole
    assert version_page(found) == page


def test_the_verdict_is_one_sentence_at_the_top(text):
    assert text.index("Verified: +1.59 nats a token [1.42, 1.76] on 15 test pairs of 5 sessions") < 200


@pytest.mark.parametrize(
    "told",
    [
        "Takes the direction as given. More of: does as asked. Less of: suggests another way.",
        "low end of its interval over groups 1.420 > 0.000 5 met",
        "41 baselines set the bar: the strongest reached +0.50",
        "percentile 99, shared among 2 behaviours) is +0.82",
        "4 211 positions: KL mean 0.220, p95 0.660, RMSE 0.310 nats; perplexity 21.40 without the vector, 24.90 with",
        "2 of 15 test pairs go the other way",
        "multiple choice 62 % 60 % 15 % 40 met",
        "valid JSON 5 % 5 % 25 % 20 nothing to say",
        "harmless requests refused 0 % 20 % 15 % 20 missed",
        "effect at equal length +1.51 [1.20, 1.70]",
        "most telling words: makefile, rename",
        "effect that is kept 94 %",
        "positive in 0 of 5 without, in 5 of 5 with",
        "listening@2 verified +1.31 [1.00, 1.60] 14 0.250 18",
        "train 8 2",
        "3 days, from 2023-11-14 to 2023-11-16",
        "trained since",
        "effect ratio 0.980 [0.91, 1.04] 0.800 15 met",
        "earlier behaviours 0.900 – 0 not asked",
        "Kept: every gate passed. 12 steps, 61 s.",
    ],
)
def test_it_tells(text, told):
    assert told in text


def test_every_figure_says_what_it_shows(page):
    seen = Seen(page)
    drawings = [tag for tag, name, value in seen.attributes if (name, value) == ("role", "img")]
    labels = [value for tag, name, value in seen.attributes if tag == "svg" and name == "aria-label"]
    assert len(drawings) == len(labels) == seen.tags.count("figure") == 9
    assert all(len(label) > 20 for label in labels)
    assert seen.tags.count("figcaption") == 9


def test_the_losers_are_named_with_their_direction(text):
    assert f"{DIRECTIONS[0]} slope −1.80, effect −0.45, from a gap of 0.00" in text
    assert f"{DIRECTIONS[1]} slope −0.70" in text


def test_text_of_other_people_stays_text(tmp_path):
    proof = full_proof()
    samples = tuple(each.model_copy(update={"direction": EVIL}) for each in proof.samples)
    answers = tuple(
        each.model_copy(update={"direction": EVIL, "steered": each.steered.model_copy(update={"text": EVIL})})
        for each in proof.generations
    )
    nulls = (*proof.nulls, proof.nulls[-1].model_copy(update={"name": EVIL}))
    conditions = (proof.conditions[0].model_copy(update={"what": EVIL}),)
    evil = {"samples": samples, "generations": answers, "nulls": nulls, "conditions": conditions}
    found, _ = made(tmp_path, proof=full_proof(**evil))
    named = dict.fromkeys(("vector", "behaviour", "description", "positive", "stale", "model", "served"), EVIL)
    versions = tuple(row.model_copy(update={"vector": f"{EVIL}@1", "state": EVIL}) for row in found.versions)
    crossed = found.interference.model_copy(update={"names": (EVIL, "b@1")})
    page = version_page(found.model_copy(update=named | {"versions": versions, "interference": crossed}))
    seen = Seen(page)
    assert not {"script", "img"} & set(seen.tags)
    assert seen.torn == []
    assert seen.text.count("<script>") > 2 * len(samples)
    assert [name for _, name, _ in seen.attributes if name.startswith("on")] == []


def test_a_refusal_says_why_and_nothing_else_of_a_proof(tmp_path):
    _, page = made(tmp_path, "listening@1")
    seen = Seen(page)
    assert "Refused: not one direction: mean cosine of a pair's difference" in seen.text
    assert "rejected" in seen.text
    assert "What was asked" not in seen.text
    assert "What it was made of" in seen.text


def test_what_an_older_proof_lacks_is_left_out_with_a_sentence(tmp_path):
    pieces = ("conditions", "samples", "generations", "checks", "predictions", "layer_curve")
    older = full_proof(**dict.fromkeys(pieces, ()), confounds=None, gate=None, null_test=None)
    text = Seen(made(tmp_path, proof=older)[1]).text
    assert (
        "This proof has no record of what was asked, layers, single pairs, answers before and after, checks of other "
        "work, confounds and a gate." in text
    )
    assert "Pair by pair" not in text
    assert "Dose, and chance" in text


def test_a_version_that_nobody_proved_has_a_page(tmp_path):
    with Furnished(tmp_path) as home:
        home.extracted("listening", 5)
        with open_reader(home.home.database) as reader:
            text = Seen(version_page(read_version(reader, "listening@4"))).text
    assert "Not proved." in text
    assert "What it was made of" in text


def test_a_training_that_was_not_kept_says_why(tmp_path):
    text = Seen(made(tmp_path, trained=False)[1]).text
    assert "Not kept: perplexity ratio 1.20, at most 1.03 is asked" in text
    assert "gate: perplexity ratio 1.20" in text
    assert "perplexity ratio 1.200 1.030 4 211 missed" in text


def test_a_vector_that_points_the_other_way_is_said_to(tmp_path):
    proof = full_proof(dose=-0.25, coefficient=-3.1, polarity_flipped=True)
    text = Seen(made(tmp_path, proof=proof)[1]).text
    assert "The vector points the other way" in text
    assert "dose −0.25" in text
