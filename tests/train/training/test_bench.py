"""The training-step benchmark measures the step that `fit` takes, and says what it cannot do."""

import json

import pytest
import torch

from engine.settings import SettingsError
from train.cli import main
from train.recipes import read_config
from train.training.bench import measure_step
from train.training.distributed import Processes
from train.training.loop import Trainer

ONE = Processes(0, 1, torch.device("cpu"))
TINY = ["model.text_side=labels", "model.encoder=tiny", "loop.batch=4"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("name", ["tg-dfer", "dk-clip", "clip-guided"])
def test_every_model_is_measured_by_real_optimizer_steps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, float]] = []
    step = Trainer.step

    def counted(self: Trainer, batches: object) -> dict[str, float]:
        before = [p.detach().clone() for p in self.model.parameters() if p.requires_grad]
        seen.append(step(self, batches))  # type: ignore[arg-type]
        after = [p for p in self.model.parameters() if p.requires_grad]
        assert any((a != b).any() for a, b in zip(after, before, strict=True))
        return seen[-1]

    monkeypatch.setattr(Trainer, "step", counted)
    config = read_config(assignments=[f"model.name={name}", *TINY, "model.options.heads=2"])
    report = measure_step(config, ONE, steps=2, warmup=1)
    assert len(seen) == 3
    assert (report["model"], report["batch"], report["steps"]) == (name, 4, 2)
    assert report["clips_per_s"] == pytest.approx(4e3 / report["step_ms"])
    assert report["step_ms_max"] >= report["step_ms"] > 0
    # At least weights, gradients and moments are held.
    assert report["peak_mib"] > 1


def test_the_command_prints_json_and_refuses_what_cannot_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "--model", "tg-dfer", "--device", "cpu", "--steps", "1", "--encoder", "tiny"]
    settings = ["--set", "model.text_side=labels", "--set", "model.options.heads=2", "--set", "loop.batch=2"]
    assert main([*words, *settings, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["encoder"] == "tiny"
    assert main([*words[:5], "--steps", "0", *words[7:], *settings]) == 2
    assert "one step or more" in capsys.readouterr().err
    with pytest.raises(SettingsError, match="without torchrun"):
        measure_step(read_config(assignments=TINY), Processes(0, 2, torch.device("cpu")))


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("name", "encoder"), [("tg-dfer", "vit-b-32"), ("clip-guided", "vit-b-32"), ("dk-clip", "vit-b-16")]
)
def test_full_size_steps_in_bf16_on_a_gpu(name: str, encoder: str) -> None:
    config = read_config(assignments=[f"model.name={name}", f"model.encoder={encoder}", "loop.precision=bf16"])
    report = measure_step(config, Processes(0, 1, torch.device("cuda", 0)), steps=10)
    print(f"\n{json.dumps(report)}")
    assert report["peak_mib"] > 1000
