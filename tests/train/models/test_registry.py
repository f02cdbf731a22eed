"""Options from plain values, frozen and trained parameters by full name, LoRA, weights put in."""

from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import CLIPConfig, CLIPModel

from engine.settings import SettingsError
from train.models import dk_clip, tg_dfer
from train.models.clip.lora import LoraLinear, add_lora, merge_lora
from train.models.clip.size import ClipSize
from train.models.clip.vision import VisionTransformer
from train.models.clip.weights import ClipWeightsError
from train.models.options import DkClipConfig, TgDferConfig
from train.models.prompts import action_units
from train.models.registry import build, configure

LAYER = [
    f"{part}.{kind}"
    for part in (
        "attention_norm", "attention.q", "attention.k", "attention.v", "attention.out", "mlp_norm", "mlp.up",
        "mlp.down",
    )
    for kind in ("weight", "bias")
]  # fmt: skip
OUTER = ["pre_norm.weight", "pre_norm.bias", "post_norm.weight", "post_norm.bias", "projection.weight"]
VISION = {
    *OUTER, "class_token", "position", "patch.weight", *(f"layers.{i}.{name}" for i in (0, 1) for name in LAYER),
}  # fmt: skip
TEXT_ENCODER = {
    f"text.encoder.{name}"
    for name in (
        "tokens.weight", "position", "final_norm.weight", "final_norm.bias", "projection.weight",
        *(f"layers.{i}.{name}" for i in (0, 1) for name in LAYER),
    )
}  # fmt: skip
TEMPORAL = [
    "attention_norm.weight", "attention_norm.bias", "attention.q.weight", "attention.k.weight", "attention.v.weight",
    "attention.out.weight", "attention.out.bias", "mlp_norm.weight", "mlp_norm.bias", "mlp.up.weight", "mlp.up.bias",
    "mlp.down.weight", "mlp.down.bias",
]  # fmt: skip
ATTENTION = [f"attention.{side}.{kind}" for side in ("q", "k", "v", "out") for kind in ("weight", "bias")]
MESSAGE = {
    f"encoder.vision.exchange.{i}.{name}"
    for i in (0, 1)
    for name in ("message.weight", "message.bias", "norm.weight", "norm.bias", *ATTENTION)
}
INTERACTION = {
    f"encoder.vision.exchange.{i}.{name}"
    for i in (0, 1)
    for name in (
        "interaction.weight", "interaction.bias", "join.weight", "join.bias", "norm.weight", "norm.bias", *ATTENTION,
        *(f"recurrent.lstm.{kind}_{gate}_l0{way}" for kind in ("weight", "bias") for gate in ("ih", "hh")
          for way in ("", "_reverse")),
    )
}  # fmt: skip
TG_HEAD = {
    *(f"window_head.{branch}.layers.0.{name}" for branch in ("fine", "coarse") for name in TEMPORAL),
    *(f"window_head.{name}" for name in (
        "fine.position", "coarse.position", "mix.weight", "mix.bias", "refine.up.weight", "refine.up.bias",
        "refine.down.weight", "refine.down.bias",
    )),
}  # fmt: skip
DK_HEAD = {
    "window_head.logit_scale", "window_head.temporal.position", "window_head.refinement.gamma",
    "window_head.refinement.context_norm.weight", "window_head.refinement.context_norm.bias",
    *(f"window_head.temporal.layer.{name}" for name in LAYER),
    *(f"window_head.refinement.{name}" for i in (0, 1) for name in (
        f"query_norms.{i}.weight", f"query_norms.{i}.bias", f"mlp_norms.{i}.weight", f"mlp_norms.{i}.bias",
        f"attentions.{i}.q.weight", f"attentions.{i}.k.weight", f"attentions.{i}.v.weight",
        f"attentions.{i}.out.weight", f"attentions.{i}.out.bias", f"mlps.{i}.up.weight", f"mlps.{i}.up.bias",
        f"mlps.{i}.down.weight", f"mlps.{i}.down.bias",
    )),
    "encoder.patch_norm.weight", "encoder.patch_norm.bias", "encoder.patch_projection.weight",
}  # fmt: skip
CG_HEAD = {
    "window_head.logit_scale", "window_head.prompts.alpha", "window_head.prompts.beta",
    *(f"window_head.aggregation.{n}.{k}" for n in ("weights.0", "weights.1", "weights.2", "out")
      for k in ("weight", "bias")),
    *(f"window_head.prompts.blocks.{m}.{side}_{part}" for m in (0, 1) for side in ("text", "video") for part in (
        *ATTENTION, "mlp.up.weight", "mlp.up.bias", "mlp.down.weight", "mlp.down.bias",
    )),
}  # fmt: skip


def own(root: str, names: set[str]) -> set[str]:
    return {f"encoder.{root}.{name}" for name in names}


CASES = {
    "tg-dfer": (own("backbone", VISION), set[str](), TG_HEAD | {"text.fine.context"}),
    "dk-clip": (own("vision", VISION), {"encoder.vision.patch.weight"}, DK_HEAD | MESSAGE),
    "clip-guided": (own("vision", VISION), set[str](), CG_HEAD | INTERACTION),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("mode", ["tuned", "frozen"])
def test_frozen_and_trained_parameters_by_full_name(name: str, mode: str) -> None:
    vision, never, rest = CASES[name]
    model = build(name, "tiny", {"image_encoder": mode})
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert trained == rest | (vision - never if mode == "tuned" else set())
    assert frozen == TEXT_ENCODER | (never if mode == "tuned" else vision)


@pytest.mark.parametrize("name", CASES)
def test_lora_trains_updates_beside_a_frozen_encoder(name: str) -> None:
    vision, _, rest = CASES[name]
    # Wide enough that a rank of 2 stays under the limit.
    size = ClipSize(
        image_px=32, patch_px=16, width=256, layers=2, heads=4, joint=32, text_width=32, text_layers=2, text_heads=2
    )
    model = build(name, size, {"image_encoder": "lora", "lora_rank": 2})
    root = next(iter(vision)).split(".")[1]
    linears = [f"attention.{x}" for x in ("q", "k", "v", "out")] + ["mlp.up", "mlp.down"]
    updates = {f"encoder.{root}.layers.{i}.{x}.{side}" for i in (0, 1) for x in linears for side in ("down", "up")}
    based = {
        n.replace(f".{x}.", f".{x}.base.") if f".{x}." in n and ".layers." in n else n
        for n in vision
        for x in [next((x for x in linears if f".{x}." in n), "-")]
    }
    assert {n for n, p in model.named_parameters() if p.requires_grad} == rest | updates
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == TEXT_ENCODER | based


def test_label_embeddings_stand_in_for_the_text_encoder() -> None:
    model = build("tg-dfer", "tiny", text_side="labels")
    assert {n for n, _ in model.named_parameters() if n.startswith("text.")} == {"text.fine", "text.coarse"}
    assert set(model.fold_text()) == {"fine_prompt", "coarse_prompt"}


@pytest.mark.parametrize(("patch", "rank"), [(32, 16), (16, 16)])
def test_default_lora_rank_stays_under_four_per_cent_at_full_size(patch: int, rank: int) -> None:
    with torch.device("meta"):
        vision = VisionTransformer(ClipSize(patch_px=patch))
        before = sum(p.numel() for p in vision.parameters())
        add_lora(vision, rank)
    assert sum(p.numel() for p in vision.parameters() if p.requires_grad) <= 0.04 * before


def test_merged_lora_computes_the_same_and_too_high_a_rank_is_refused() -> None:
    torch.manual_seed(0)
    size = ClipSize(image_px=32, patch_px=16, width=256, layers=2, heads=4, joint=32)
    vision = VisionTransformer(size).eval()
    frames = torch.randn(2, 3, 32, 32)
    before = vision(frames)
    add_lora(vision, 2)
    torch.testing.assert_close(vision(frames), before)
    for module in vision.modules():
        if isinstance(module, LoraLinear):
            nn.init.normal_(module.up, std=0.05)
    merged = merge_lora(vision)
    assert not any(isinstance(m, LoraLinear) for m in merged.modules())
    assert {n for n, _ in merged.named_parameters()} == VISION
    assert not torch.allclose(vision(frames), before, atol=1e-3)
    torch.testing.assert_close(merged(frames), vision(frames), atol=1e-5, rtol=1e-5)
    with pytest.raises(SettingsError, match="4 %.*lower rank"):
        add_lora(VisionTransformer(size), 64)


def test_published_weights_fill_the_model_and_leave_exchange_modules(tmp_path: Path) -> None:
    text = {
        "vocab_size": 300, "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2,
        "num_attention_heads": 1, "bos_token_id": 298, "eos_token_id": 299, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 1, "image_size": 32,
        "patch_size": 16,
    }  # fmt: skip
    hf = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32))
    hf.save_pretrained(tmp_path)
    size = ClipSize(
        image_px=32, patch_px=16, width=64, layers=2, heads=1, joint=32, text_width=64, text_layers=2, text_heads=1,
        vocabulary=300,
    )  # fmt: skip
    with pytest.raises(ClipWeightsError, match="holds no tokenizer"):
        build("clip-guided", size, weights=tmp_path)
    model = build("clip-guided", size, weights=tmp_path, text_side="labels")
    state = model.state_dict()
    torch.testing.assert_close(state["encoder.vision.projection.weight"], hf.visual_projection.weight.detach())
    assert float(state["window_head.logit_scale"]) == pytest.approx(float(hf.logit_scale.detach()))
    with pytest.raises(SettingsError, match="it has patch_px 16 for 32|it has image_px"):
        build("clip-guided", "vit-b-32", weights=tmp_path)


def test_options_are_typed_and_unknown_ones_refused_with_the_nearest_name() -> None:
    config = configure(
        "tg-dfer",
        {"labels": ["Sad", "Fear"], "fine_depth": 3},
        ["fine_depth=2", "prompt_learnable=no", "temperature=0.02", "labels=Happy, Fear", "mean=0,0,0"],
    )
    assert (config.labels, config.mean) == (("happiness", "fear"), (0.0, 0.0, 0.0))
    assert isinstance(config, TgDferConfig)
    assert (config.fine_depth, config.prompt_learnable, config.temperature) == (2, False, 0.02)
    with pytest.raises(SettingsError, match="unknown model 'tgdfer': did you mean 'tg-dfer'"):
        configure("tgdfer")
    with pytest.raises(SettingsError, match="take tg-dfer"):
        build("dk-clip", "compact")


@pytest.mark.parametrize(
    ("name", "option", "value", "message"),
    [
        ("tg-dfer", "fine_dept", 1, r"model.options: unknown setting fine_dept; did you mean fine_depth\?"),
        ("tg-dfer", "crop", {"size_px": 32}, "unknown setting crop"),
        ("tg-dfer", "fine_depth", "two", "fine_depth must be whole number, not 'two'"),
        ("tg-dfer", "fine_depth", 1.5, "fine_depth must be whole number, not 1.5"),
        ("tg-dfer", "visual_prompt", "multiply", "visual_prompt must be 'none' . 'add' . 'prepend', not 'multiply'"),
        ("tg-dfer", "class_bias", [0.1], "class_bias: 1 numbers for 7 classes"),
        ("clip-guided", "interfit", "maybe", "interfit must be true or false"),
        ("dk-clip", "threshold", 2, r"threshold must be 0\.\.1, not 2 \(from model.options\)"),
    ],
)
def test_wrong_options_are_refused(name: str, option: str, value: object, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        configure(name, {option: value})


def test_prompts_follow_the_tables() -> None:
    labels = ("happiness", "neutral", "contempt")
    assert action_units(labels, "or") == [
        "Happiness with cheek raiser, lip corner puller or lip part.", "Neutral", "Contempt",
    ]  # fmt: skip
    assert action_units(labels, "and")[0] == "Happiness with cheek raiser, lip corner puller and lip part."
    sets = tg_dfer.prompt_sets(TgDferConfig(prompt_text="descriptors"))
    assert sets["fine"].contexts == 8
    assert len(set(sets["fine"].texts)) == 7
    assert sets["coarse"].texts[0] == "happiness"
    assert dk_clip.prompt_sets(DkClipConfig(prompt_text="names", contexts=4))["classes"].contexts == 4


def test_compact_encoder_takes_tg_dfer_with_label_embeddings() -> None:
    model = build("tg-dfer", "compact", {"image_encoder": "frozen", "heads": 4}).eval()
    spec = model.spec()
    size = spec.crop.size_px
    crops = torch.randint(0, 256, (2 * spec.window, 1, size, size, 3), dtype=torch.uint8)
    output = model.head(model.encode_units(crops).reshape(2, spec.window, -1))
    assert output.logits.shape == (2, 7)
    assert (spec.mean, spec.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert not any(p.requires_grad for p in model.encoder.parameters())
    with pytest.raises(SettingsError, match="lora needs a CLIP image encoder"):
        build("tg-dfer", "compact", {"image_encoder": "lora"})
