"""Figures of an evaluation against plain re-computation, and a report that stands alone."""

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from calibration.metrics import score
from engine.spec import SEVEN_CLASSES
from train.data.dataset import Batch
from train.evaluation import figures
from train.evaluation.evaluate import influence_scores, localisation, over_folds, summarise
from train.evaluation.predict import Predictions, Shuffle, repeat_peak, reverse
from train.evaluation.report import html_report

CLIPS, SAMPLES, CLASSES = 40, 16, 7


def predictions(seed: int = 0, known: bool = True, instances: bool = True) -> Predictions:
    rng = np.random.default_rng(seed)
    target = rng.integers(0, CLASSES - 1, CLIPS)
    instance = rng.normal(size=(CLIPS, SAMPLES, CLASSES)).astype(np.float32)
    truth = np.full((CLIPS, SAMPLES), -1, np.float32)
    if known:
        truth = (rng.random((CLIPS, SAMPLES)) < 0.3).astype(np.float32)
        # True frames speak for the class.
        instance[np.arange(CLIPS), :, target] += 2 * truth
    return Predictions(
        SEVEN_CLASSES,
        tuple(f"clip-{i}" for i in range(CLIPS)),
        tuple(f"face-{i // 4}" for i in range(CLIPS)),
        target,
        instance.mean(axis=1),
        rng.random((CLIPS, SAMPLES)).astype(np.float32),
        instance if instances else instance[:, :0],
        truth,
        rng.normal(size=(CLIPS, 6)).astype(np.float32),
    )


def test_influence_is_the_mean_over_the_k_frames_of_the_predicted_class() -> None:
    found = predictions()
    result = influence_scores(found)
    for (side, k), got in result.items():
        predicted = []
        for i in range(CLIPS):
            own = found.instance[i, :, found.logits[i].argmax()]
            order = np.argsort(own)
            kept = order[-k:] if side == "highest" else order[:k]
            predicted.append(found.instance[i, kept].mean(axis=0).argmax())
        assert got.war == score(found.target, np.array(predicted), SEVEN_CLASSES).war
    assert set(result) == {(s, k) for s in ("highest", "lowest") for k in (1, 2, 3)}
    assert influence_scores(predictions(instances=False)) == {}


def test_localisation_is_the_mean_auroc_over_clips_whose_truth_is_known() -> None:
    found = predictions()
    values = []
    for i in range(CLIPS):
        if 0 < found.truth[i].sum() < SAMPLES:
            values.append(roc_auc_score(found.truth[i], found.instance[i, :, found.logits[i].argmax()]))
    got = localisation(found, draws=50)
    assert got is not None
    assert got.auroc.value == pytest.approx(np.mean(values))
    assert got.clips == len(values)
    assert localisation(predictions(known=False), draws=50) is None


def test_predictions_round_trip(tmp_path: Path) -> None:
    found = predictions()
    found.save(tmp_path / "p.npz")
    again = Predictions.load(tmp_path / "p.npz")
    assert again.names == found.names
    assert again.groups == found.groups
    for name in ("target", "logits", "relevance", "instance", "truth", "features"):
        assert (getattr(again, name) == getattr(found, name)).all()


def test_folds_give_mean_sample_deviation_and_pooled_clips() -> None:
    folds = [predictions(seed).scores() for seed in range(5)]
    summary = over_folds(folds)
    assert summary.war[0] == pytest.approx(np.mean([f.war for f in folds]))
    assert summary.uar[1] == pytest.approx(np.std([f.uar for f in folds], ddof=1))
    assert summary.pooled.confusion.sum() == 5 * CLIPS
    with pytest.raises(ValueError, match="folds"):
        over_folds([])


def test_changes_of_the_temporal_audit() -> None:
    crops = torch.arange(2 * 5, dtype=torch.uint8).reshape(2, 5, 1, 1, 1).expand(2, 5, 4, 4, 3)
    batch = Batch(crops, torch.zeros(2), torch.tensor([7, 8]), torch.zeros(2, 5))
    relevance = torch.tensor([[0.1, 0.2, 0.9, 0, 0], [0, 0, 0, 0, 1.0]])
    assert repeat_peak(batch, relevance)[:, :, 0, 0, 0].tolist() == [[2] * 5, [9] * 5]
    assert reverse(batch, relevance)[0, :, 0, 0, 0].tolist() == [4, 3, 2, 1, 0]
    mixed = Shuffle(1)(batch, relevance)[:, :, 0, 0, 0]
    assert [sorted(row) for row in mixed.tolist()] == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    assert (mixed == Shuffle(1)(batch, relevance)[:, :, 0, 0, 0]).all()


def test_the_report_is_one_page_that_needs_nothing_else() -> None:
    found = predictions()
    result = summarise(found, {"shuffle": found.scores(), "reverse": found.scores()}, draws=30)
    summary = over_folds([found.scores(), predictions(1).scores()])
    runs = [("runs/fold1", found.scores()), ("runs/fold2", predictions(1).scores())]
    page = html_report(result, "a <model>", {"data": "x & y"}, None, summary, ["Synthetic clips."], runs=runs)
    assert "a &lt;model&gt;" in page
    assert "x &amp; y" in page
    assert "Absent from this test part and left out of UAR: fear" in page
    assert "Localisation AUROC" in page
    assert "2 folds" in page
    assert f"<td>runs/fold2</td><td>{100 * runs[1][1].uar:.2f}</td>" in page
    assert "All else on this page is of runs/fold1 alone" in page
    assert not re.search(r"<script|https?://|src=\"(?!data:)|<link", page)
    assert f"{100 * result.scores.uar:.2f}" in page


def test_pictures_are_pictures_and_the_same_each_time() -> None:
    found = predictions()
    result = summarise(found, draws=10)
    frames = [np.full((16, 16, 3), 8 * i, np.uint8) for i in range(SAMPLES)]
    makers: list[Callable[[], bytes]] = [
        lambda: figures.confusion_figure(result.scores),
        lambda: figures.influence_figure(result),
        lambda: figures.strip_of(result, 3, frames),
        lambda: figures.tsne_figure(found.features, found.target, found.labels),
    ]
    for make in makers:
        png = make()
        image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        assert image.std() > 5
        assert png == make()


def test_strips_show_right_and_wrong_clips_of_every_class() -> None:
    result = summarise(predictions(), draws=5)
    chosen = figures.strip_clips(result, 99)
    assert len(chosen) == len(set(chosen))
    right = [result.predictions.predicted[i] == result.predictions.target[i] for i in chosen]
    assert any(right)
    assert not all(right)
