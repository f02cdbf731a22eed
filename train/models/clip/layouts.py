"""Where the two published layouts of CLIP weights keep each tensor.

Both are read into this project's names: ``vision.*``, ``text.*`` and ``logit_scale``. Hugging Face's layout
has separate query, key and value matrices; OpenAI's (also open_clip's) has them in one and its projections
transposed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from train.models.clip.size import ClipSize

_HF = (
    (r"vision_model\.embeddings\.class_embedding", "vision.class_token"),
    (r"vision_model\.embeddings\.patch_embedding\.weight", "vision.patch.weight"),
    (r"vision_model\.embeddings\.position_embedding\.weight", "vision.position"),
    (r"vision_model\.pre_layrnorm\.(\w+)", r"vision.pre_norm.\1"),
    (r"vision_model\.post_layernorm\.(\w+)", r"vision.post_norm.\1"),
    (r"visual_projection\.weight", "vision.projection.weight"),
    (r"text_model\.embeddings\.token_embedding\.weight", "text.tokens.weight"),
    (r"text_model\.embeddings\.position_embedding\.weight", "text.position"),
    (r"text_model\.final_layer_norm\.(\w+)", r"text.final_norm.\1"),
    (r"text_projection\.weight", "text.projection.weight"),
    (r"(vision|text)_model\.encoder\.layers\.(\d+)\.layer_norm1\.(\w+)", r"\1.layers.\2.attention_norm.\3"),
    (r"(vision|text)_model\.encoder\.layers\.(\d+)\.layer_norm2\.(\w+)", r"\1.layers.\2.mlp_norm.\3"),
    (
        r"(vision|text)_model\.encoder\.layers\.(\d+)\.self_attn\.(q|k|v|out)_proj\.(\w+)",
        r"\1.layers.\2.attention.\3.\4",
    ),
    (r"(vision|text)_model\.encoder\.layers\.(\d+)\.mlp\.fc1\.(\w+)", r"\1.layers.\2.mlp.up.\3"),
    (r"(vision|text)_model\.encoder\.layers\.(\d+)\.mlp\.fc2\.(\w+)", r"\1.layers.\2.mlp.down.\3"),
    (r"logit_scale", "logit_scale"),
)
_HF_IGNORED = re.compile(r"(vision|text)_model\.embeddings\.position_ids")

_OPENAI = (
    (r"visual\.class_embedding", "vision.class_token"),
    (r"visual\.conv1\.weight", "vision.patch.weight"),
    (r"visual\.positional_embedding", "vision.position"),
    (r"visual\.ln_pre\.(\w+)", r"vision.pre_norm.\1"),
    (r"visual\.ln_post\.(\w+)", r"vision.post_norm.\1"),
    (r"visual\.proj", "vision.projection.weight^T"),
    (r"token_embedding\.weight", "text.tokens.weight"),
    (r"positional_embedding", "text.position"),
    (r"ln_final\.(\w+)", r"text.final_norm.\1"),
    (r"text_projection", "text.projection.weight^T"),
    (r"(visual\.)?transformer\.resblocks\.(\d+)\.ln_1\.(\w+)", r"\1layers.\2.attention_norm.\3"),
    (r"(visual\.)?transformer\.resblocks\.(\d+)\.ln_2\.(\w+)", r"\1layers.\2.mlp_norm.\3"),
    (r"(visual\.)?transformer\.resblocks\.(\d+)\.attn\.in_proj_(\w+)", r"\1layers.\2.attention.qkv.\3"),
    (r"(visual\.)?transformer\.resblocks\.(\d+)\.attn\.out_proj\.(\w+)", r"\1layers.\2.attention.out.\3"),
    (r"(visual\.)?transformer\.resblocks\.(\d+)\.mlp\.c_fc\.(\w+)", r"\1layers.\2.mlp.up.\3"),
    (r"(visual\.)?transformer\.resblocks\.(\d+)\.mlp\.c_proj\.(\w+)", r"\1layers.\2.mlp.down.\3"),
    (r"logit_scale", "logit_scale"),
)
_OPENAI_IGNORED = re.compile(r"input_resolution|context_length|vocab_size|attn_mask")


def to_project_names(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Rename the tensors of a published checkpoint, whichever layout it has.

    Args:
        tensors: The checkpoint's tensors by name; a ``module.`` or ``model.`` before every name is dropped.

    Returns:
        The tensors by this project's names, and the names that no layout knows, sorted.
    """
    for prefix in ("module.", "model.", "clip."):
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    hugging_face = any(name.startswith(("vision_model.", "text_model.")) for name in tensors)
    patterns, ignored = (_HF, _HF_IGNORED) if hugging_face else (_OPENAI, _OPENAI_IGNORED)
    named: dict[str, Tensor] = {}
    unknown: list[str] = []
    for name, value in tensors.items():
        if ignored.fullmatch(name):
            if name.endswith("position_ids") and not torch.equal(value.flatten(), torch.arange(value.numel())):
                unknown.append(name)  # positions in another order than counting would be another model
            continue
        target = next(
            (m.expand(out) for pattern, out in patterns if (m := re.fullmatch(pattern, name))),
            None,
        )
        if target is None:
            unknown.append(name)
            continue
        if not hugging_face and "layers." in target:
            target = target.replace("visual.", "vision.") if target.startswith("visual.") else f"text.{target}"
        if target.endswith("^T"):
            named[target.removesuffix("^T")] = value.t()
        elif ".qkv." in target:
            for part, rows in zip("qkv", value.chunk(3, dim=0), strict=True):
                named[target.replace(".qkv.", f".{part}.")] = rows
        else:
            named[target] = value
    return named, sorted(unknown)


def infer_size(
    tensors: Mapping[str, Tensor],
    heads: int | None = None,
    text_heads: int | None = None,
    activation: str = "quick_gelu",
) -> ClipSize:
    """Read the shapes of a CLIP off its tensors.

    Args:
        tensors: By this project's names.
        heads: Heads of the image transformer; width / 64 if not given, as in every published CLIP.
        text_heads: Likewise of the text transformer.
        activation: Of every layer's MLP: no tensor tells.

    Returns:
        The size.

    Raises:
        KeyError: If a tensor that tells a shape is missing.
    """

    def layers(part: str) -> int:
        return len({name.split(".")[2] for name in tensors if name.startswith(f"{part}.layers.")})

    patch = tensors["vision.patch.weight"]
    grid = round((tensors["vision.position"].shape[0] - 1) ** 0.5)
    width, text_width = patch.shape[0], tensors["text.tokens.weight"].shape[1]
    return ClipSize(
        image_px=grid * patch.shape[-1],
        patch_px=patch.shape[-1],
        width=width,
        layers=layers("vision"),
        heads=heads or max(width // 64, 1),
        joint=tensors["vision.projection.weight"].shape[0],
        text_width=text_width,
        text_layers=layers("text"),
        text_heads=text_heads or max(text_width // 64, 1),
        context=tensors["text.position"].shape[0],
        vocabulary=tensors["text.tokens.weight"].shape[0],
        activation=activation,
    )
