"""The protocol: parts that do not meet, figures that mean what they say, and the command that prints them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from calibration.apply import Calibration
from engine.bundle import Bundle
from engine.spec import SEVEN_CLASSES
from tests.train.drawn_stills import drawn_stills
from train.cli import main
from train.data.layouts.ferplus import VOTES, Stills, hold_out
from train.default_model import judge as judge_module
from train.default_model.card import measured, measured_again
from train.default_model.judge import figures, in_words, judge, probe_crops, read_part, table
from train.evaluation.probes import CLEAN, PROBES


def _stills(count: int) -> Stills:
    """Stills of one class each by nine votes of ten, one to a cluster."""
    truth = np.arange(count) % len(SEVEN_CLASSES)
    votes = np.zeros((count, len(VOTES)), np.float32)
    votes[np.arange(count), [VOTES.index(SEVEN_CLASSES[c]) for c in truth]] = 9
    votes[:, VOTES.index("NF")] = 1
    return replace(drawn_stills(count), votes=votes, cluster=np.arange(count), first=np.ones(count, bool))


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> Stills:
    """Faces that stand for both archives."""
    stills = _stills(2000)
    monkeypatch.setattr(judge_module, "load_split", lambda *_: stills)
    return stills


def _names(part: str, count: int = 0) -> set[str]:
    return set(read_part(Path(), part, Path(), count).names)


def test_what_is_chosen_on_is_not_what_confirms(data: Stills) -> None:
    choose, confirm = _names("choose"), _names("confirm")
    assert not choose & confirm
    assert choose | confirm == _names("dev") == set(data.names)
    assert 0.45 < len(choose) / len(data) < 0.55
    # What the runs validated on, and trained on nothing of (recipes/polish.toml, finish.toml).
    assert _names("untrained") == {data.names[i] for i in np.flatnonzero(hold_out(data, 0.01))}


def test_a_few_are_the_same_few_each_time(data: Stills) -> None:
    few = _names("choose", 50)
    assert len(few) == 50
    assert few == _names("choose", 50) < _names("choose", 60) < _names("choose")


def test_figures_of_answers_that_are_known() -> None:
    stills = _stills(700)
    truth = stills.plurality
    answers = np.where(np.arange(700) < 70, (truth + 1) % 7, truth)
    logits = np.eye(7, dtype=np.float32)[answers] * 3
    found = figures(logits, stills, Calibration(SEVEN_CLASSES, threshold=0.5), draws=20)
    assert found["n"] == 700
    assert found["war"][0] == pytest.approx(90)
    assert found["war"][1] <= 90 <= found["war"][2]
    assert found["uar"][0] == pytest.approx(90)
    assert found["vote_share"][0] == pytest.approx(0.9 * 90)
    assert found["vote_share_attainable"] == pytest.approx(90)
    assert found["vote_uar"][0] == pytest.approx(90)
    assert found["shown"] == 100
    assert found["right_when_shown"] == pytest.approx(90)
    sure = float(np.exp(3) / (np.exp(3) + 6))
    assert found["overconfidence"]["fear"] == pytest.approx(100 * (sure - 0.9))
    withheld = figures(logits, stills, Calibration(SEVEN_CLASSES, threshold=0.9), draws=20)
    assert withheld["shown"] == 0
    assert withheld["right_when_shown"] is None


def test_a_bundle_is_judged_on_every_probe(tiny_bundle: Callable[..., Bundle]) -> None:
    bundle, stills = tiny_bundle("tg-dfer"), _stills(7)
    probes = [probe for probe in PROBES if probe.name in ("mask", "24 px")]
    rows = judge(bundle, stills, probes)
    assert list(rows) == ["clean", "mask", "24 px"]
    assert rows["clean"]["lost"] == 0
    assert any("vote-weighted UAR" in line for line in in_words(rows["clean"]))
    assert "(≤ 15)" in next(line for line in table(rows) if line.startswith("| mask"))
    size = bundle.spec.crop.size_px
    crops = probe_crops(bundle, stills, CLEAN, threads=2)
    assert crops.shape == (7, bundle.spec.unit, size, size, 3)
    assert (crops == probe_crops(bundle, stills, CLEAN)).all()


def test_a_card_gets_the_figures_of_the_protocol_and_keeps_the_rest(tiny_bundle: Callable[..., Bundle]) -> None:
    bundle = tiny_bundle("tg-dfer")
    rows = judge(bundle, _stills(7), [probe for probe in PROBES if probe.name == "mask"])
    nothing = [[0] * 7] * 7
    figures = {
        "dev": {"war": (1.0, 0.0, 2.0), "uar": (1.0, 0.0, 2.0), "n": 7, "confusion": nothing},
        "crop_ms": 1.0,
        "crop_ms_where": "here",
        "composed": {},
    }
    old = "# A card\n\nUse.\n" + measured(SEVEN_CLASSES, figures)
    new = measured_again(old, SEVEN_CLASSES, {**figures, "parts": {"confirm": rows["clean"]}, "probes": rows})
    assert new.startswith("# A card\n\nUse.\n\n## Measured\n")
    assert new.count("## Measured") == 1
    assert "- **confirm**: dev's other half" in new
    assert "| mask |" in new
    assert measured_again(new, SEVEN_CLASSES, figures) == old


def test_the_command_prints_a_table_and_json(
    tiny_bundle: Callable[..., Bundle], data: Stills, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["probes", str(tiny_bundle("tg-dfer").path), "--data", ".", "--part", "confirm", "--faces", "5", "--clean"]
    assert main(call) == 0
    said = capsys.readouterr().out
    assert "on confirm: dev's other half" in said
    assert "n = 5" in said
    assert main([*call, "--json"]) == 0
    clean = json.loads(capsys.readouterr().out)["figures"]["clean"]
    assert clean["n"] == 5
    # Of five faces two classes have none.
    assert sum(value is None for value in clean["recall"].values()) >= 2
    assert main([*call, "--threads", "0"]) == 2
