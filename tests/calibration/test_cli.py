from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from calibration import cli, data
from calibration.apply import METHODS, load
from calibration.commands.fit import FitSettings
from calibration.settings import CalibrationError
from engine.bundle import Bundle, BundleError, softmax, write_bundle
from engine.settings import entries
from engine.spec import SEVEN_CLASSES, ModelSpec


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    spec = ModelSpec("tg-dfer", SEVEN_CLASSES, unit=1, window=16, hop=1, sample_hz=8.0, feature=8)
    # Calibration never opens the graphs: any bytes with the right hash will do.
    files: dict[str, bytes | Path] = dict.fromkeys(("encoder.onnx", "head.onnx", "golden.npz"), b"graph")
    return write_bundle(tmp_path / "bundle", spec, files, {"made": "by a test"}, {"war": 0.9})


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, (1500, 7))
    labels = (softmax(true).cumsum(axis=1) > rng.random((1500, 1))).argmax(axis=1)
    path = tmp_path / "dev.npz"
    np.savez(path, logits=(2.5 * true).astype(np.float32), labels=labels, groups=np.arange(1500) // 3)
    return path


def run(*argv: Any) -> int:
    return cli.main([str(arg) for arg in argv])


def test_fit_stores_a_calibration_and_remove_takes_it_out(
    bundle: Bundle, npz: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fit", bundle.path, npz, "--risk", "0.2", "--rounds", "30") == 0
    assert "temperature" in capsys.readouterr().out
    fitted = Bundle.open(bundle.path)
    stored = load(fitted.calibration(), SEVEN_CLASSES)
    assert stored.method in ("temperature", "classwise", "vector")
    assert fitted.sha256 != bundle.sha256
    assert 1 / np.mean(stored.scale) == pytest.approx(2.5, rel=0.1)
    after, before = stored.metrics["after"], stored.metrics["before"]
    assert after["ece"]["value"] < 0.04 < before["ece"]["value"]
    assert after["ece"]["interval"][0] <= after["ece"]["interval"][1]
    assert stored.metrics["threshold"]["risk"] <= 0.2
    assert stored.threshold is not None
    assert 0 < stored.threshold < 1
    assert stored.provenance["groups"] == 500
    assert stored.neutral_logits is not None
    assert np.argmax(stored.neutral_logits) == SEVEN_CLASSES.index("neutral")
    assert run("remove", bundle.path) == 0
    assert Bundle.open(bundle.path).sha256 == bundle.sha256
    assert run("remove", bundle.path) == 0


def test_logits_of_single_samples_are_fitted_beside_the_windows(
    bundle: Bundle, npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(npz) as arrays:
        values = dict(arrays)
    np.savez(tmp_path / "both.npz", now_logits=2 * values["logits"], **values)
    quick = dataclasses.replace(bundle.spec, has_now=True)
    files: dict[str, bytes | Path] = dict.fromkeys(("encoder.onnx", "head.onnx", "golden.npz"), b"graph")
    scores_now = write_bundle(tmp_path / "now", quick, files, {"made": "by a test"}, {"war": 0.9})
    flags = ("--method", "temperature", "--rounds", "20", "--risk", "0.2")
    assert run("fit", scores_now.path, tmp_path / "both.npz", *flags) == 0
    assert capsys.readouterr().out.startswith("window: 1500 rows")
    stored = load(Bundle.open(scores_now.path).calibration(), SEVEN_CLASSES)
    assert stored.now is not None
    assert np.mean(stored.scale) == pytest.approx(2 * np.mean(stored.now.scale), rel=1e-3)
    assert stored.now.threshold == pytest.approx(stored.threshold, abs=1e-3)
    # A model that scores no single samples has no use for them.
    assert run("fit", bundle.path, tmp_path / "both.npz", *flags) == 0
    assert load(Bundle.open(bundle.path).calibration(), SEVEN_CLASSES).now is None
    np.savez(tmp_path / "short.npz", now_logits=values["logits"][:, :6], **values)
    assert run("fit", scores_now.path, tmp_path / "short.npz", *flags) == 2
    assert "now_logits are (1500, 6)" in capsys.readouterr().err


def test_auto_takes_the_likeliest_method_and_a_named_one_is_taken_as_named(
    bundle: Bundle, npz: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {}
    for method in ("auto", *METHODS):
        assert run("fit", bundle.path, npz, "--method", method, "--rounds", "20", "--risk", "0.3", "--dry-run") == 0
        made[method] = json.loads(capsys.readouterr().out)
    assert [made[method]["method"] for method in METHODS] == list(METHODS)
    best = min(METHODS, key=lambda method: made[method]["metrics"]["after"]["nll"]["value"])
    assert made["auto"] == made[best]
    assert best != METHODS[-1]  # the last one tried, which would be taken without a comparison


def test_a_dry_run_changes_nothing_and_apply_stores_its_output(
    bundle: Bundle, npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("fit", bundle.path, npz, "--method", "temperature", "--rounds", "30")
    assert run(*command, "--dry-run") == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["risk"], made["provenance"]["folds"], made["provenance"]["seed"]) == (0.1, 5, 0)
    assert run(*command, "--risk", "0.2", "--dry-run") == 0
    file = tmp_path / "calibration.json"
    file.write_text(capsys.readouterr().out)
    assert Bundle.open(bundle.path).sha256 == bundle.sha256
    assert run("apply", bundle.path, file) == 0
    assert Bundle.open(bundle.path).calibration() == json.loads(file.read_text())
    tampered = bundle.path / "calibration.json"
    tampered.write_bytes(tampered.read_bytes().replace(b"temperature", b"Temperature"))
    with pytest.raises(BundleError, match="calibration.json"):
        Bundle.open(bundle.path)


def test_the_report_draws_pictures_and_prints_figures_with_intervals(
    bundle: Bundle, npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="pictures need the extra `calibrate`")
    assert run("report", bundle.path, npz, "--out", tmp_path / "out", "--json", "--rounds", "30") == 0
    report = json.loads(capsys.readouterr().out)
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    figures = report["methods"]
    assert set(figures) == {"none", "temperature", "classwise", "vector"}
    assert figures["none"]["war"] == figures["temperature"]["war"]
    for name in ("reliability.png", "risk_coverage.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")
    assert Bundle.open(bundle.path).sha256 == bundle.sha256


def test_fit_is_told_by_flags_over_the_environment(
    bundle: Bundle, npz: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"METHOD": "vector", "ROUNDS": "20", "RISK": "0.3"}.items():
        monkeypatch.setenv(f"DFER_CALIBRATE_{name}", value)
    assert run("fit", bundle.path, npz, "--dry-run", "--risk", "0.2") == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["method"], made["risk"]) == ("vector", 0.2)
    known = {entry.key: entry for entry in entries(FitSettings)}["method"].kind
    assert get_args(known) == ("auto", *METHODS)
    assert run("fit", bundle.path, npz, "--method", "platt") == 2
    assert (
        "method must be 'auto' | 'none' | 'temperature' | 'classwise' | 'vector', not 'platt'"
        in capsys.readouterr().err
    )


def test_rows_of_the_scorer_are_joined_with_a_csv_of_votes(bundle: Bundle, tmp_path: Path) -> None:
    rows, table = tmp_path / "rows.jsonl", tmp_path / "truth.csv"
    lines: list[dict[str, Any]] = [
        {"path": f"faces.zip/a{i}.webp", "logits": dict.fromkeys(SEVEN_CLASSES, 0.0) | {SEVEN_CLASSES[i % 7]: 3.0}}
        for i in range(20)
    ]
    lines[5]["logits"] = None
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with table.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["name", *SEVEN_CLASSES, "contempt", "twins", "first"])
        for i in range(19):
            votes = [9 if c == i % 7 else 1 for c in range(7)]
            if i == 2:
                votes[0] = 9  # a tie
            writer.writerow([f"a{i}.webp", *votes, 99 * (i == 9), i // 2, int(i != 4)])
    got = data.read(rows, SEVEN_CLASSES, data.TruthTable(table, "name", "twins", "first=1"))
    # a2 is a tie, a4 is not first, a5 has no score, a9 is contempt, a19 is not in the table.
    assert len(got.labels) == 15
    assert got.skipped == {"no truth": 4, "no score": 1}
    np.testing.assert_array_equal(got.logits.argmax(axis=1), got.labels)
    assert [int((got.groups == g).sum()) for g in range(9)] == [2, 1, 2, 1, 2, 2, 2, 2, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "rows.jsonl:1 is not JSON"),
        ("[]", "rows.jsonl:1 is not a JSON object"),
        ('{"truth":"joyful","logits":[1,2,3,4,5,6,7]}', "'joyful' is none of the bundle's classes"),
        ('{"truth":9,"logits":[1,2,3,4,5,6,7]}', "truth must be 0..6"),
        ('{"truth":1,"logits":[1,2]}', "logits must hold a number for each"),
        ('{"truth":1,"logits":{"fear":1}}', "logits must hold a number for each"),
        ('{"truth":1,"logits":[1,2,3,4,5,6,NaN]}', "not finite"),
        ('{"truth":null,"logits":[1,2,3,4,5,6,7]}', "no usable row"),
        ("", "it is empty"),
    ],
)
def test_rows_with_a_mistake_are_refused_by_line(
    bundle: Bundle, tmp_path: Path, text: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(text)
    assert run("fit", bundle.path, file) == 2
    error = capsys.readouterr().err
    assert words in error, error
    assert error.count("\n") == 1


def test_files_that_cannot_be_read_are_one_line(
    bundle: Bundle, npz: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.npz"
    bad.write_bytes(b"no zip")
    empty = tmp_path / "empty.csv"
    empty.write_text("name\n")
    for argv in (
        ("fit", tmp_path / "none", npz),
        ("fit", bundle.path, bad),
        ("fit", bundle.path, tmp_path / "none.jsonl"),
        ("fit", bundle.path, npz, "--folds", "1"),
        ("fit", bundle.path, npz, "--risk", "0", "--rounds", "20"),
        ("fit", bundle.path, tmp_path / "x.jsonl", "--truth", empty),
        ("apply", bundle.path, empty),
    ):
        assert run(*argv) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"dfer-calibrate {argv[0]}: ")
        assert said.count("\n") == 1
    assert Bundle.open(bundle.path).sha256 == bundle.sha256


def test_the_shared_votes_give_the_documented_counts(shared_data: Path) -> None:
    table = shared_data / "ferplus" / "dev.csv"
    truths = data.read_truth(data.TruthTable(table, "name", "twin_cluster", "first_of_cluster=1"), SEVEN_CLASSES)
    counts = dict.fromkeys(SEVEN_CLASSES, 0)
    for truth in truths:
        if truth.label is not None:
            counts[SEVEN_CLASSES[truth.label]] += 1
    assert counts == {
        "neutral": 1224, "happiness": 869, "surprise": 398, "sadness": 383, "anger": 298, "disgust": 28, "fear": 64,
    }  # fmt: skip


def test_npz_labels_may_be_names(tmp_path: Path) -> None:
    path = tmp_path / "named.npz"
    np.savez(path, logits=np.eye(7)[:2], labels=np.array(["Happy", "fear"]))
    assert data.read(path, SEVEN_CLASSES).labels.tolist() == [0, 6]
    for foreign in (7, 9, -1):
        np.savez(path, logits=np.eye(7)[:2], labels=np.array([0, foreign]))
        with pytest.raises(CalibrationError, match=r"0\.\.6"):
            data.read(path, SEVEN_CLASSES)
