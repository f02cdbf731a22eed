"""Learning on the synthetic sets (minutes): recognising new faces, and finding the true frames among 75 % noise.

Figures of these tests are printed (run with -s) and stand in train/README.md. They are synthetic.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from calibration.metrics import bootstrap
from engine.settings import Layer, load
from engine.spec import SEVEN_CLASSES, CropGeometry, ModelSpec
from train.data.dataset import ClipDataset
from train.data.layouts.synthetic import LARGE_TRAIN_SET
from train.data.parts import Parts, load_parts
from train.evaluation.evaluate import Evaluation, summarise
from train.evaluation.predict import predict
from train.models.clip.size import ClipSize
from train.models.clip.vision import VisionTransformer
from train.models.options import TgDferConfig
from train.models.registry import build
from train.models.tg_dfer import SingleFrames, TgDfer
from train.models.window import ExpressionModel, WindowOutput
from train.settings import DataSettings, RunConfig
from train.training.distributed import Processes
from train.training.fit import make_trainer

ONE = Processes(0, 1, torch.device("cpu"))
CROP = CropGeometry(size_px=32)
WIDTH = 64

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Standardised(nn.Module):
    """Grey, zero mean and unit deviation per crop: skin, background and light say nothing here."""

    def forward(self, x: Tensor) -> Tensor:
        grey = x.mean(1, keepdim=True)
        return (grey - grey.mean((2, 3), keepdim=True)) / (grey.std((2, 3), keepdim=True) + 0.05)


def frame_encoder() -> nn.Module:
    torch.manual_seed(1)
    layers: list[nn.Module] = [Standardised()]
    for i, (before, after) in enumerate(((1, 16), (16, 32), (32, 64))):
        kernel = 5 if i == 0 else 3
        layers += [nn.Conv2d(before, after, kernel, 2, kernel // 2), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(1024, WIDTH))


class MeanOfFrames(ExpressionModel):
    """The baseline: the mean of per-frame logits of the same encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = SingleFrames(frame_encoder())
        self.window_head = nn.Linear(WIDTH, len(SEVEN_CLASSES))

    def spec(self) -> ModelSpec:
        return ModelSpec("mean", SEVEN_CLASSES, 1, 16, 1, 8.0, WIDTH, crop=CROP)

    def text_constants(self) -> dict[str, Tensor]:
        return {}

    def head(self, features: Tensor) -> WindowOutput:
        scores = self.window_head(features)
        return WindowOutput(scores.mean(1), scores.amax(-1).softmax(-1), scores[:, -1], {"instance_logits": scores})


def train(model: ExpressionModel, out: Path, flags: list[str], parts: Parts | None = None) -> Evaluation:
    settings = {
        "data": {"source": "synthetic", "workers": 0, "prefix": 0.0},
        "augment": {"crop_scale": [0.9, 1.0], "rotation_deg": 4.0, "grey": 0.0, "infrared": 0.0},
        "optim": {"name": "adamw", "lr": 2e-3, "weight_decay": 1e-3, "warmup_epochs": 0.5},
        "loop": {"epochs": 25, "batch": 16},
    }
    config = load(RunConfig, below=[Layer(settings, "the test")], assignments=flags).settings
    spec = model.spec()
    parts = parts or load_parts(config.data, spec.samples, config.loop.seed)
    make_trainer(config, model, parts, out, ONE).fit()
    assert parts.test is not None
    found = predict(model, ClipDataset(parts.test, spec.labels, spec), ONE.device)
    return summarise(found, draws=500)


def line(name: str, result: Evaluation) -> str:
    where = result.localisation
    assert where is not None
    return (
        f"{name}: UAR {100 * result.uar.value:.1f} [{100 * result.uar.low:.1f}, {100 * result.uar.high:.1f}], "
        f"AUROC {where.auroc.value:.3f} [{where.auroc.low:.3f}, {where.auroc.high:.3f}], "
        f"of right clips {where.correct_only:.3f}"
    )


def test_tg_dfer_finds_the_true_frames_and_beats_the_mean_of_frames(tmp_path: Path) -> None:
    tg = TgDfer(
        TgDferConfig(crop=CROP, heads=4, head_width=16, temperature=0.1, pool="logsumexp"), frame_encoder(), WIDTH
    )
    # The known frame truth of training clips serves an auxiliary loss; the baseline has no use for relevance.
    ours = train(tg, tmp_path / "tg", ["objective.frame_weight=1.0"])
    baseline = train(MeanOfFrames(), tmp_path / "mean", [])
    print()
    print(line("TG-DFER", ours))
    print(line("mean of per-frame logits", baseline))
    assert ours.localisation is not None
    assert ours.localisation.auroc.value >= 0.9
    a, b = ours.predictions, baseline.predictions
    better = (a.predicted == a.target).astype(float) - (b.predicted == b.target)
    (gain,) = bootstrap(lambda rows: [float(better[rows].mean())], len(a.target), a.groups)
    print(f"gain in WAR: {100 * gain.value:.1f} [{100 * gain.low:.1f}, {100 * gain.high:.1f}]")
    assert gain.low > 0


SIZE = ClipSize(
    image_px=32, patch_px=8, width=64, layers=3, heads=4, joint=64, text_width=32, text_layers=1, text_heads=2
)
QUIETER = ["data.noise=0.25", "loop.select=last", "optim.clip_norm=1.0"]


class FrameClassifier(ExpressionModel):
    """One frame at a time through a small vision transformer, under the label of its clip."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = SingleFrames(VisionTransformer(SIZE))
        self.window_head = nn.Linear(SIZE.joint, len(SEVEN_CLASSES))

    def spec(self) -> ModelSpec:
        return ModelSpec("frame", SEVEN_CLASSES, 1, 1, 1, 8.0, SIZE.joint, crop=CROP)

    def text_constants(self) -> dict[str, Tensor]:
        return {}

    def head(self, features: Tensor) -> WindowOutput:
        scores = self.window_head(features)[:, 0]
        return WindowOutput(scores, scores.new_ones(len(scores), 1), scores, {})


@pytest.fixture(scope="module")
def quieter_clips() -> Parts:
    """The large training set and the test set, 25 % noise."""
    data = DataSettings(source="synthetic", clips=LARGE_TRAIN_SET.clips, noise=0.25, validation=0.05)
    return load_parts(data, 16, seed=1)


@pytest.fixture(scope="module")
def frames_first(quieter_clips: Parts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """Weights of a vision transformer after random single frames of the training clips, each under its clip's label.

    A stand-in for CLIP, from which every paper starts: clips alone teach a transformer from random weights too slowly.
    It sees the training clips and their labels, no frame truth and no other face.
    """
    torch.set_num_threads(1)
    torch.manual_seed(1)
    model = FrameClassifier()
    flags = [*QUIETER, "optim.lr=1e-3", "optim.warmup_epochs=1.0", "loop.batch=64", "loop.epochs=16"]
    result = train(model, tmp_path_factory.mktemp("frames"), flags, quieter_clips)
    print(f"\nsingle frames, middle one of each test clip: {result.scores.text()}")
    return dict(model.encoder.get_submodule("backbone").state_dict())


@pytest.mark.parametrize("name", ["tg-dfer", "dk-clip", "clip-guided"])
def test_each_model_beats_chance_by_far_on_new_faces(
    tmp_path: Path, name: str, quieter_clips: Parts, frames_first: dict[str, Tensor]
) -> None:
    options: dict[str, object] = {"heads": 4}
    if name != "dk-clip":
        options["head_width"] = 16
    if name == "tg-dfer":
        options["temperature"] = 0.1
    torch.manual_seed(1)
    model = build(name, SIZE, options, text_side="labels")
    (vision,) = [m for m in model.modules() if isinstance(m, VisionTransformer)]
    left = vision.load_state_dict(frames_first, strict=False)
    assert not left.unexpected_keys
    # Modules by which frames exchange tokens, and whatever stands behind the image encoder, start at random.
    assert all(key.startswith("exchange.") for key in left.missing_keys)
    flags = [*QUIETER, "optim.lr=5e-4", "optim.warmup_epochs=1.0", "loop.epochs=2"]
    result = train(model, tmp_path / name, flags, quieter_clips)
    where = f", {line(name, result)}" if result.localisation else ""
    print(f"\n{name}, 25 % noise: {result.scores.text()}{where}")
    faces = {clip.group for clip in quieter_clips.train.clips} if quieter_clips.train else set()
    assert faces
    assert not faces & set(result.predictions.groups)
    # Chance is 14.3 %: five times that, and four times with 95 % confidence.
    assert result.war.value > 5 / 7, result.scores.text()
    assert result.war.low > 4 / 7, result.scores.text()
    assert np.isfinite(result.uar.value)
