"""Image and text features equal transformers.CLIPModel's on random weights, through each weight format."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel

from engine.settings import SettingsError
from train.models.clip.size import SIZES
from train.models.clip.text import Prompts, TextTransformer
from train.models.clip.tokenizer import ByteTokens, ClipTokens
from train.models.clip.vision import VisionTransformer
from train.models.clip.weights import ClipWeights, ClipWeightsError, load_text, load_vision, read_clip

VOCABULARY = 300


def hf_clip(patch: int = 16, image: int = 48, width: int = 128, layers: int = 3, full: bool = False) -> Any:
    torch.manual_seed(patch)
    if full:
        config = CLIPConfig(
            text_config={"hidden_act": "quick_gelu"},
            vision_config={"patch_size": patch, "hidden_act": "quick_gelu"},
        )
        return CLIPModel(config).eval()  # type: ignore[no-untyped-call]
    text = {
        "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2,
        "num_attention_heads": 1, "max_position_embeddings": 77, "bos_token_id": VOCABULARY - 2,
        "eos_token_id": VOCABULARY - 1, "pad_token_id": 0,
    }  # fmt: skip
    vision = {
        "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers,
        "patch_size": patch, "num_attention_heads": width // 64, "image_size": image,
    }  # fmt: skip
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=48)).eval()  # type: ignore[no-untyped-call]


def scatter_norms(model: Any) -> None:
    """Norms start at exactly one and zero: give them values, so that a swapped norm shows."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):
                parameter += 0.1 * torch.randn_like(parameter)


def openai_layout(model: Any) -> dict[str, torch.Tensor]:
    """The same weights under OpenAI's names: one matrix for query, key and value, projections transposed."""
    out: dict[str, torch.Tensor] = {}
    for name, value in model.state_dict().items():
        visual = name.startswith("vision")
        root = "visual." if visual else ""
        if ".self_attn." in name:
            if ".q_proj." not in name and ".out_proj." not in name:
                continue
            block = f"{root}transformer.resblocks.{name.split('.')[3]}.attn."
            kind = name.rsplit(".", 1)[1]
            if ".out_proj." in name:
                out[f"{block}out_proj.{kind}"] = value
            else:
                parts = [model.state_dict()[name.replace("q_proj", f"{p}_proj")] for p in "qkv"]
                out[f"{block}in_proj_{kind}"] = torch.cat(parts)
        elif ".encoder.layers." in name:
            index, rest = name.split(".encoder.layers.")[1].split(".", 1)
            for a, b in (("layer_norm", "ln_"), ("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")):
                rest = rest.replace(a, b)
            out[f"{root}transformer.resblocks.{index}.{rest}"] = value
        else:
            renames = {
                "vision_model.embeddings.class_embedding": "visual.class_embedding",
                "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
                "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
                "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
                "text_model.embeddings.position_embedding.weight": "positional_embedding",
                "visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection",
            }  # fmt: skip
            new = renames.get(name, name)
            for a, b in (
                ("vision_model.pre_layrnorm", "visual.ln_pre"),
                ("vision_model.post_layernorm", "visual.ln_post"),
                ("text_model.final_layer_norm", "ln_final"),
            ):  # fmt: skip
                new = new.replace(a, b)
            out[new] = value.t().contiguous() if new in ("visual.proj", "text_projection") else value
    return out


def save_hf_folder(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def save_hf_safetensors(model: Any, folder: Path) -> Path:
    save_file({k: v.contiguous().clone() for k, v in model.state_dict().items()}, folder / "alone.safetensors")
    return folder / "alone.safetensors"


def save_hf_bin(model: Any, folder: Path) -> Path:
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    return folder


def save_openai_safetensors(model: Any, folder: Path) -> Path:
    save_file({k: v.contiguous().clone() for k, v in openai_layout(model).items()}, folder / "openai.safetensors")
    return folder / "openai.safetensors"


def save_openai_pt(model: Any, folder: Path) -> Path:
    extra = {
        "input_resolution": torch.tensor(48),
        "context_length": torch.tensor(77),
        "vocab_size": torch.tensor(0),
    }
    torch.save({**openai_layout(model), **extra}, folder / "openai.pt")
    return folder / "openai.pt"


FORMATS = [save_hf_folder, save_hf_safetensors, save_hf_bin, save_openai_safetensors, save_openai_pt]


def check_equal(model: Any, weights: ClipWeights) -> None:
    vision, text = VisionTransformer(weights.size).eval(), TextTransformer(weights.size).eval()
    load_vision(vision, weights)
    load_text(text, weights)
    size = weights.size
    frames = torch.randn(2, 3, size.image_px, size.image_px)
    ids = torch.zeros(3, size.context, dtype=torch.int64)
    for row, length in enumerate((1, 5, size.context - 2)):
        body = torch.randint(1, size.vocabulary - 2, (length,))
        end = torch.tensor([size.vocabulary - 1])
        ids[row, : length + 2] = torch.cat([end - 1, body, end])
    with torch.no_grad():
        theirs = model.vision_model(frames)
        image, words = (
            model.visual_projection(theirs.pooler_output),
            model.text_model(input_ids=ids).pooler_output,
        )
        torch.testing.assert_close(vision.tokens(frames), theirs.last_hidden_state, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(vision(frames), image, atol=1e-5, rtol=0)
        torch.testing.assert_close(text(ids), model.text_projection(words), atol=1e-5, rtol=0)
    assert float(weights.logit_scale) == pytest.approx(float(model.logit_scale.detach()), abs=1e-6)


@pytest.mark.parametrize("save", FORMATS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("patch", [16, 24])
def test_features_equal_transformers(save: Callable[[Any, Path], Path], patch: int, tmp_path: Path) -> None:
    model = hf_clip(patch)
    scatter_norms(model)
    check_equal(model, read_clip(save(model, tmp_path)))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("patch", [16, 32])
def test_full_size_features_equal_transformers_through_each_format(patch: int, tmp_path: Path) -> None:
    model = hf_clip(patch, full=True)
    scatter_norms(model)
    for save in FORMATS:
        check_equal(model, read_clip(save(model, tmp_path)))
        for file in tmp_path.iterdir():
            file.unlink()


@pytest.fixture
def small(tmp_path: Path) -> tuple[dict[str, torch.Tensor], Path]:
    return dict(hf_clip().state_dict()), tmp_path / "clip.pt"


def test_missing_unexpected_and_misshapen_tensors_are_named(
    small: tuple[dict[str, torch.Tensor], Path],
) -> None:
    state, path = small
    del state["vision_model.post_layernorm.bias"]
    state["somebody.else"] = torch.zeros(1)
    state["text_model.final_layer_norm.weight"] = torch.zeros(3)
    torch.save(state, path)
    with pytest.raises(ClipWeightsError) as caught:
        read_clip(path)
    message = str(caught.value)
    assert "1 missing: vision.post_norm.bias" in message
    assert "1 unexpected: somebody.else" in message
    assert "text.final_norm.weight is (3,), not (64,)" in message


def test_torchscript_archive_is_refused_with_the_remedy(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    torch.jit.save(torch.jit.trace(module, torch.zeros(1, 2)), tmp_path / "ViT-B-32.pt")  # type: ignore[no-untyped-call]
    with pytest.raises(ClipWeightsError, match="TorchScript archive.*; convert it once.*openai/clip-vit-base-patch32"):
        read_clip(tmp_path / "ViT-B-32.pt")


class NotATensor:
    pass


def test_pickled_object_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": NotATensor()}, tmp_path / "evil.pt")
    with pytest.raises(ClipWeightsError, match="weights_only"):
        read_clip(tmp_path / "evil.pt")


@pytest.mark.parametrize(
    ("name", "data"), [("a.pt", b"not a checkpoint"), ("a.safetensors", b"neither"), ("b.bin", b"")]
)
def test_garbage_is_refused_by_name(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ClipWeightsError, match=name):
        read_clip(tmp_path / name)


def test_wrong_path_says_what_may_be_given(tmp_path: Path) -> None:
    with pytest.raises(ClipWeightsError, match="neither a file, nor a folder, nor a hub id"):
        read_clip(tmp_path / "nowhere" / "deep")
    with pytest.raises(ClipWeightsError, match=r"holds none of model\.safetensors"):
        read_clip(tmp_path)


def test_other_checkpoint_is_no_clip(tmp_path: Path) -> None:
    save_file({"conv.weight": torch.zeros(1)}, tmp_path / "resnet.safetensors")
    with pytest.raises(ClipWeightsError, match="holds no CLIP"):
        read_clip(tmp_path / "resnet.safetensors")


def test_tokenizer_comes_from_beside_the_weights(tmp_path: Path) -> None:
    model = hf_clip()
    save_hf_folder(model, tmp_path)
    with pytest.raises(ClipWeightsError, match="holds no tokenizer"):
        ClipTokens(tmp_path)
    words = ["f", "e", "a", "r</w>", "fe", "fea", "fear</w>", "<|startoftext|>", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nf e\nfe a\nfea r</w>\n")
    rows = ClipTokens(tmp_path)(["fear", "Fear fear"])
    assert [len(row) for row in rows] == [77, 77]
    assert rows[0][:4] == [7, 6, 8, 0]
    assert rows[1][:5] == [7, 6, 6, 8, 0]


def test_contexts_stand_between_start_and_text_and_alone_get_gradient() -> None:
    size = SIZES["tiny"]
    encoder = TextTransformer(size).requires_grad_(False)
    rows = ByteTokens(size)(["fear", "happiness"])
    prompts = Prompts(rows, size.text_width, contexts=4)
    features = prompts.encode(encoder)
    assert prompts.context is not None
    # By hand: the same tokens with the contexts written into the embedding table's place.
    table = encoder.tokens(prompts.ids)
    by_hand = torch.cat([table[:, :1], prompts.context, table[:, 1:-4]], dim=1) + encoder.position
    for layer in encoder.layers:
        by_hand = layer(by_hand, encoder.causal)
    end = prompts.ids.argmax(dim=1) + 4
    expected = encoder.projection(encoder.final_norm(by_hand[torch.arange(2), end]))
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)
    torch.autograd.backward(features.sum())
    assert prompts.context.grad is not None
    assert prompts.context.grad.abs().sum() > 0
    assert all(p.grad is None for p in encoder.parameters())


def test_plain_prompts_are_kept_until_the_encoder_changes() -> None:
    size = SIZES["tiny"]
    encoder = TextTransformer(size).requires_grad_(False)
    prompts = Prompts(ByteTokens(size)(["fear"]), size.text_width)
    first = prompts.encode(encoder)
    assert prompts.encode(encoder) is first
    encoder.load_state_dict(TextTransformer(size).state_dict())
    assert not torch.equal(prompts.encode(encoder), first)


def test_too_long_text_is_refused() -> None:
    with pytest.raises(SettingsError, match="8 contexts exceed the 10"):
        Prompts([[1, 2, 3, 9, 0, 0, 0, 0, 0, 0]], 8, contexts=8)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_the_activation_that_the_config_says_is_computed(activation: str, tmp_path: Path) -> None:
    model = CLIPModel(small_clip(activation)).eval()  # type: ignore[no-untyped-call]
    scatter_norms(model)
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.data.normal_(0, 0.2)
    model.save_pretrained(tmp_path)
    weights = read_clip(tmp_path)
    assert weights.size.activation == activation
    vision, text = VisionTransformer(weights.size).eval(), TextTransformer(weights.size).eval()
    load_vision(vision, weights)
    load_text(text, weights)
    images, ids = torch.randn(2, 3, 32, 32), torch.tensor([[98, 5, 6, 99] + [99] * 12, [98, 7, 99] + [99] * 13])
    with torch.no_grad():
        wanted = [model.get_image_features(images), model.get_text_features(ids)]
        found = [vision(images), text(ids)]
    for a, b in zip(wanted, found, strict=True):
        torch.testing.assert_close(getattr(a, "pooler_output", a), b, atol=1e-4, rtol=1e-4)


def small_clip(activation: str, **text: Any) -> CLIPConfig:
    half = {
        "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 1,
        "hidden_act": activation,
    }  # fmt: skip
    words = {
        "vocab_size": 100,
        "max_position_embeddings": 16,
        "bos_token_id": 98,
        "eos_token_id": 99,
        "pad_token_id": 99,
    }
    return CLIPConfig(
        projection_dim=32,
        text_config={**half, **words, "projection_dim": 32, **text},
        vision_config={**half, "image_size": 32, "patch_size": 8, "projection_dim": 32},
    )


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c["vision_config"].update(hidden_act="silu"), "hidden_act differs between image and text"),
        (
            lambda c: [c[p].update(hidden_act="silu") for p in ("vision_config", "text_config")],
            "'silu' is not computed",
        ),
        (lambda c: c["vision_config"].update(layer_norm_eps=1e-6), "layer_norm_eps is 1e-06; only 1e-05"),
        (lambda c: c["text_config"].update(attention_dropout=0.1), "attention_dropout is 0.1; only 0"),
        (lambda c: c["text_config"].update(eos_token_id=50), "end of text is token 50 of 100"),
        (lambda c: c.update(projection_dim=48), "joint"),
        (lambda c: c["vision_config"].update(patch_size=16), "patch_px 16 where the tensors have 8"),
        (lambda c: c["text_config"].update(num_hidden_layers=12), "text_layers 12 where the tensors have 3"),
    ],
)
def test_what_a_config_says_and_is_not_computed_is_refused(
    change: Callable[[dict[str, Any]], object], told: str, tmp_path: Path
) -> None:
    CLIPModel(small_clip("gelu")).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config.setdefault("projection_dim", 32)
    change(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ClipWeightsError, match=told):
        read_clip(tmp_path)


def _open_clip(folder: Path, config: dict[str, Any] | None) -> Path:
    model = CLIPModel(small_clip("gelu")).eval()  # type: ignore[no-untyped-call]
    tensors = {k: v.contiguous().clone() for k, v in openai_layout(model).items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    if config is not None:
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return folder


OPEN_CLIP = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 32, "layers": 3, "width": 64, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 100, "width": 64, "heads": 1, "layers": 3},
}


def test_open_clip_means_gelu_unless_it_says_quick_gelu(tmp_path: Path) -> None:
    assert read_clip(_open_clip(tmp_path, OPEN_CLIP)).size.activation == "gelu"
    assert read_clip(_open_clip(tmp_path, {**OPEN_CLIP, "quick_gelu": True})).size.activation == "quick_gelu"


def test_an_open_clip_file_without_config_or_with_another_tower_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ClipWeightsError, match="says which activation it has; put the checkpoint's"):
        read_clip(_open_clip(tmp_path, None))
    pooled = {**OPEN_CLIP, "vision_cfg": {**OPEN_CLIP["vision_cfg"], "attentional_pool": True}}  # type: ignore[dict-item]
    with pytest.raises(ClipWeightsError, match=r"asks for vision_cfg\.attentional_pool, which is not computed here"):
        read_clip(_open_clip(tmp_path, pooled))


def test_positions_that_do_not_count_are_refused(tmp_path: Path) -> None:
    tensors = {k: v.contiguous().clone() for k, v in CLIPModel(small_clip("gelu")).state_dict().items()}
    tensors["text_model.embeddings.position_ids"] = torch.arange(16).flip(0)[None]
    save_file(tensors, tmp_path / "alone.safetensors")
    with pytest.raises(ClipWeightsError, match="position_ids"):
        read_clip(tmp_path / "alone.safetensors")
