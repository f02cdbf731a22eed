"""`dfer-train inspect`: the settled counts, the papers' own cost tables, and the command line."""

import functools
import json
from typing import Any

import pytest

from train.bundle import inspect
from train.cli import main


@functools.cache
def inspected(name: str, encoder: str = "vit-b-32", **options: Any) -> inspect.Inspection:
    """Each configuration is counted once."""
    return inspect.inspect_model(name, encoder, options)


@pytest.mark.parametrize(
    ("options", "gmacs"),
    [
        # CLIP-Guided, Table 2
        ({"interfit": False, "msta": False, "blocks": 0}, 23.58),
        ({"msta": False, "blocks": 0}, 24.65),
        ({"blocks": 0}, 24.65),
        # Table 4; M = 2 is Table 2's last row
        ({"blocks": 1}, 24.68),
        ({}, 24.71),
        ({"blocks": 3}, 24.74),
        ({"blocks": 4}, 24.77),
        ({"blocks": 5}, 24.80),
        # Table 3
        ({"text": False, "blocks": 0}, 24.65),
    ],
)
def test_clip_guided_costs_what_its_tables_say(options: dict[str, Any], gmacs: float) -> None:
    assert inspected("clip-guided", **options).paper_gmacs == pytest.approx(gmacs, abs=0.01)


def test_true_multiply_adds_of_vit_b_32() -> None:
    assert inspected("tg-dfer").unit_gmacs == pytest.approx(4.409, abs=5e-4)
    plain = {"interfit": False, "msta": False, "blocks": 0}
    assert inspected("clip-guided", **plain).unit_gmacs == pytest.approx(35.27, abs=5e-3)


def parts(name: str, encoder: str = "vit-b-32", **options: Any) -> dict[str, inspect.Part]:
    return {part.name: part for part in inspected(name, encoder, **options).parts}


@pytest.mark.parametrize(("encoder", "visual"), [("vit-b-32", 87_849_216), ("vit-b-16", 86_192_640)])
def test_parameters_of_clip_and_of_tg_dfer(encoder: str, visual: int) -> None:
    counted = parts("tg-dfer", encoder)
    assert counted["encoder.backbone"].parameters == visual
    # The whole of CLIP (151,277,313 with ViT-B/32) has one parameter more, its temperature, which TG-DFER fixes.
    assert counted["encoder.backbone"].parameters + counted["text.encoder"].parameters + 1 == visual + 63_428_097
    assert sum(p.parameters for n, p in counted.items() if n.startswith("window_head.")) == 6_837_248
    assert counted["text.fine"] == inspect.Part("text.fine", 28_672, 28_672)
    assert counted["text.encoder"].trained == 0


def test_parameters_of_dk_clip_and_its_frozen_patches() -> None:
    counted = parts("dk-clip")
    assert counted["encoder.vision.exchange"].parameters == 12 * 2_954_496
    assert counted["encoder.vision"].parameters + counted["encoder.vision.exchange"].parameters == 123_303_168
    assert counted["encoder.vision"].parameters - counted["encoder.vision"].trained == 3 * 32 * 32 * 768


def test_prepended_prompt_widens_the_head() -> None:
    counted = parts("tg-dfer", visual_prompt="prepend")
    assert sum(p.parameters for n, p in counted.items() if n.startswith("window_head.")) == 7_885_824


def test_command_prints_json_and_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "dk-clip", "--encoder", "tiny", "--set", "snippets=8", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["shapes"]["features of a window"] == [1, 8, 5 * 32]
    assert told["parameters"] == sum(part["parameters"] for part in told["parts"])
    assert main(["inspect", "clip-guided", "--encoder", "tiny"]) == 0
    shown = capsys.readouterr().out
    assert "encoder.vision.exchange" in shown
    assert "multiply-adds, whole window" in shown


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["tg-def"], "did you mean 'tg-dfer'?"),
        (["tg-dfer", "--encoder", "vit-b-23"], "did you mean 'vit-b-32'?"),
        (["dk-clip", "--set", "tresholt=1"], "did you mean threshold?"),
        (["dk-clip", "--set", "threshold=2"], "threshold must be 0..1, not 2"),
    ],
)
def test_command_refuses_in_one_line(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", *arguments]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
