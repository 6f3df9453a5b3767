"""Drawings stand on one page, in any light, and say what they show."""

import re

import pytest

from daemon.protocol import DosePoint
from daemon.report import charts
from daemon.report.figures import OWN, drawn
from tests.report.pages import Seen, addresses
from tests.report.proofs import full_proof


def line(figure):
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=OWN, marker="o", label="a <b> & $x_1$")
    axes.legend()


@pytest.fixture(scope="module")
def drawing():
    return drawn("one", "A line that rises.", line)


def test_it_says_what_it_shows(drawing):
    assert Seen(drawing).values("aria-label") == ["A line that rises."]
    assert drawing.startswith("<svg ")


def test_its_text_is_text_and_nothing_in_it_is_a_formula_or_a_tag(drawing):
    seen = Seen(drawing)
    assert "a <b> & $x_1$" in seen.text
    assert "b" not in seen.tags


def test_colours_are_those_of_the_page(drawing):
    colours = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", drawing))
    assert colours
    assert {each for each in colours if not each.startswith("var(--")} <= {"none"}
    assert "var(--own)" in colours


def test_it_asks_for_nothing_from_elsewhere(drawing):
    assert addresses(drawing) == []
    assert "metadata" not in drawing


def test_the_same_drawing_twice_is_the_same_bytes(drawing):
    assert drawn("one", "A line that rises.", line) == drawing


def test_ids_of_two_drawings_never_meet_and_what_is_pointed_to_is_there(drawing):
    page = drawing + drawn("two", "The same.", line)
    ids = Seen(page).values("id")
    pointed = re.findall(r"url\(#([^)]+)\)", page) + [each[1:] for each in Seen(page).values("href")]
    assert len(ids) == len(set(ids))
    assert pointed
    assert set(pointed) == set(ids)


def test_letters_that_the_font_lacks_are_no_reason_to_complain():
    def named(figure):
        figure.subplots().set_xlabel("聞く ᚠ 🦉")

    assert "聞く" in drawn("x", "", named)


def points_of(drawing):
    """How many dots a drawing has."""
    return len(re.findall("<use ", drawing))


def test_each_baseline_is_one_dot():
    proof = full_proof()
    fewer = proof.model_copy(update={"nulls": proof.nulls[1:]})
    assert points_of(charts.chance_chart(proof)) - points_of(charts.chance_chart(fewer)) == 1


def test_equal_baselines_do_not_hide_each_other():
    assert len(set(charts._stacked([0.1] * 5 + [0.9], 0)[:5])) == 5


def test_only_doses_of_the_chosen_layer_are_drawn():
    proof = full_proof()
    stray = DosePoint(layer=3, dose=0.3, effect=99.0, kl_mean=0, kl_p95=0)
    changed = proof.model_copy(update={"dose_curve": (*proof.dose_curve, stray)})
    assert charts.dose_chart(changed) == charts.dose_chart(proof)


def test_pairs_that_go_the_other_way_are_red_and_numbered():
    proof = full_proof()
    losers = [each for each in proof.samples if each.slope < 0]
    drawing = charts.sample_chart(proof.samples, losers)
    assert len(losers) == 2
    assert {"1", "2"} <= set(Seen(drawing).text.split())
    assert len(re.findall(r"<use [^>]*var\(--bad\)", drawing)) == 2


def test_an_unknown_cell_of_a_heat_map_is_a_dash():
    drawing = charts.heat_map("m", ["a@1", "b@1"], [[1.0, None], [None, -0.5]], 1.0, "told")
    assert Seen(drawing).text.count("–") == 2
    assert drawing.count("var(--bad)") > 0
