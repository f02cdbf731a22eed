"""The compact head: what it learns from composed clips, and the bundle that is shipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from engine.bundle.bundle import Bundle
from engine.spec import SEVEN_CLASSES
from tests.train.drawn_stills import drawn_stills
from train.data.augment.compose import FeatureBank
from train.data.layouts.ferplus import VOTES
from train.default_model.head import FrameMean, assemble, head_parameters, rarity_bias, score
from train.default_model.head_training import HeadConfig, clip_loss, draw, train_head, truth_loss
from train.default_model.measure import accuracy, noise_report
from train.default_model.recipe import read_recipe
from train.default_model.ship import BUNDLE_LIMIT
from train.models.compact.encoder import CompactEncoder
from train.models.compact.shape import EncoderConfig

TINY = EncoderConfig(size_px=40, widths=(8,), depths=(1,), feature=16)
SHIPPED = Path(__file__).parents[3] / "stream" / "default_model"


def _bank() -> FeatureBank:
    rng = np.random.default_rng(0)
    label = np.arange(140) % 7
    centres = rng.normal(size=(7, 16)) * 2
    clean = (centres[label][:, None] + rng.normal(size=(140, 3, 16)) * 0.3).astype(np.float32)
    targets = np.eye(7, dtype=np.float32)[label] * 0.8 + 0.2 / 7
    targets[::12] = 1 / 7
    ends = np.stack([np.flatnonzero(label == 2)[:10], np.flatnonzero(label == 0)[:10]], 1)
    fade = np.linspace(0, 1, 5)[None, :, None]
    morphs = clean[ends[:, 0], :1] * (1 - fade) + clean[ends[:, 1], :1] * fade
    return FeatureBank(
        clean, rng.normal(size=(140, 3, 16)).astype(np.float32), np.zeros((140, 3, 7), np.float32), targets, label,
        morphs.astype(np.float32), ends,
    )  # fmt: skip


def test_every_part_of_the_head_learns() -> None:
    torch.manual_seed(0)
    model, bank = assemble(CompactEncoder(TINY), 40), _bank()
    config = HeadConfig(batch=12)
    loss = clip_loss(model, draw(bank, config, np.full(140, 1 / 140), np.random.default_rng(0)), config)
    loss.backward()  # type: ignore[no-untyped-call]
    head = [*model.window_head.named_parameters(), *model.text.named_parameters()]
    assert [name for name, p in head if p.grad is None or not p.grad.abs().sum() > 0] == []
    assert all(p.grad is None for p in model.encoder.parameters())


def test_a_short_training_reads_stills_and_young_windows(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, bank = assemble(CompactEncoder(TINY), 40), _bank()
    config = HeadConfig(steps=220, batch=24, rate=2e-3, teacher=0.0)
    losses = train_head(model, bank, torch.nn.Linear(16, 7), config, tmp_path)
    assert losses[-1] < losses[0]
    still = np.repeat(bank.clean[:, :1], 16, axis=1)
    logits, relevance, now = score(model, still)
    sure = bank.targets.max(1) > 0.5
    assert (logits.argmax(1) == bank.label)[sure].mean() > 0.9
    assert (now.argmax(1) == bank.label)[sure].mean() > 0.9
    np.testing.assert_allclose(relevance.sum(1), 1, atol=1e-4)


def test_only_rare_classes_are_raised() -> None:
    votes = np.zeros((100, 10), np.float32)
    for rows, name in ((slice(60), 0), (slice(60, 90), 1), (slice(90, 98), 3), (slice(98, 100), 5)):
        votes[rows, name] = 10  # neutral, happiness, sadness, disgust
    stills = replace(drawn_stills(100), votes=votes)
    lift = dict(zip(SEVEN_CLASSES, rarity_bias(stills, 1.0), strict=True))
    assert lift["neutral"] == lift["happiness"] == lift["sadness"] == 0
    assert lift["disgust"] == pytest.approx(np.log(1 / 14 / 0.02))
    assert rarity_bias(stills, 0.5)[SEVEN_CLASSES.index("disgust")] == pytest.approx(lift["disgust"] / 2)
    assert rarity_bias(stills, 0.0) == ()
    whole = np.array(rarity_bias(stills, 1.0, 1.0))
    shares = np.array([votes[:, VOTES.index(name)].sum() for name in SEVEN_CLASSES]) / votes.sum()
    seen = shares > 0
    np.testing.assert_allclose(np.ptp(whole[seen] + np.log(shares[seen])), 0, atol=1e-6)


def test_truth_loss_is_least_where_true_frames_share_the_weight() -> None:
    truth = torch.tensor([[True, True, False, False]])
    even = truth_loss(torch.tensor([[9.0, 9.0, 0.0, 0.0]]), truth)
    uneven = truth_loss(torch.tensor([[9.0, 3.0, 0.0, 0.0]]), truth)
    wrong = truth_loss(torch.tensor([[0.0, 0.0, 9.0, 9.0]]), truth)
    assert even < uneven < wrong
    assert even.item() == pytest.approx(np.log(2), abs=1e-2)


def test_the_baseline_has_as_many_parameters() -> None:
    model = assemble(CompactEncoder(), 56)
    count = sum(p.numel() for p in head_parameters(model))
    baseline = FrameMean(128, 7, count)
    assert abs(sum(p.numel() for p in baseline.parameters()) / count - 1) < 0.1


def test_the_report_compares_on_the_same_clips() -> None:
    torch.manual_seed(0)
    model, bank = assemble(CompactEncoder(TINY), 40), _bank()
    report = noise_report(model.eval(), FrameMean(16, 7, 5000), bank, seeds=1)
    assert list(report) == ["0.00", "0.25", "0.50", "0.75"]
    assert report["0.00"]["mean"] == report["0.00"]["oracle"]
    for row in report.values():
        value, low, high = row["gain"]
        assert low <= value <= high
        assert value == pytest.approx(row["head"] - row["mean"], abs=1e-4)
    assert 0 <= report["0.50"]["auroc"] <= 1


def test_intervals_hold_their_value() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 7, 300)
    logits = np.eye(7, dtype=np.float32)[np.where(rng.random(300) < 0.7, truth, rng.integers(0, 7, 300))]
    found = accuracy(logits, truth, SEVEN_CLASSES, draws=200)
    for value, low, high in (found["war"], found["uar"]):
        assert low < value < high
        assert high - low < 15
    assert found["n"] == np.sum(found["confusion"]) == 300


@pytest.mark.skipif(not (SHIPPED / "bundle.json").is_file(), reason="the default bundle has not been made yet")
def test_the_shipped_bundle_is_small_and_says_where_it_comes_from() -> None:
    bundle = Bundle.open(SHIPPED)
    assert sum(f.stat().st_size for f in SHIPPED.iterdir()) <= BUNDLE_LIMIT
    # Ancestors are named, a row each: the manifest does not carry their records.
    assert (SHIPPED / "bundle.json").stat().st_size <= 20_000
    assert [row["name"] for row in bundle.provenance["lineage"]] == list(read_recipe().stages)
    assert bundle.spec.feature <= 256
    assert bundle.spec.has_now
    assert bundle.spec.name == "tg-dfer"
    card = (SHIPPED / "MODEL_CARD.md").read_text("utf-8")
    assert bundle.provenance["data_sha256"] in card
    assert "no licence grant" in card
    assert bundle.metrics["dev"]["n"] == 3264
