"""The options of each model: what the papers' ablation tables vary, checked on construction. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from engine.settings import SettingsError
from engine.spec import CLIP_MEAN, CLIP_STD, SEVEN_CLASSES, CropGeometry
from train.models.clip.size import SIZES
from train.settings import in_range


@dataclass(frozen=True)
class ModelOptions:
    """What all models' configurations share.

    Attributes:
        labels: Class names in the order of the logits.
        image_encoder: ``frozen``, ``tuned`` or ``lora``.
        lora_rank: Rank of the updates where the image encoder is ``lora``.
        activation: Of CLIP's layers: ``quick_gelu`` (OpenAI), ``gelu`` (LAION, DataComp), or ``auto``: what the
            weights' config says, and QuickGELU without weights.
        crop: Crop geometry the encoder expects.
        mean: Per-channel RGB mean of crops in [0, 1].
        std: Per-channel RGB standard deviation.
    """

    HIDDEN: ClassVar[frozenset[str]] = frozenset({"crop.size_px", "crop.template", "crop.border"})

    labels: tuple[str, ...] = SEVEN_CLASSES
    image_encoder: Literal["frozen", "tuned", "lora"] = "tuned"
    lora_rank: int = 16
    activation: Literal["auto", "quick_gelu", "gelu"] = "auto"
    crop: CropGeometry = field(default_factory=CropGeometry)
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD

    def __post_init__(self) -> None:
        in_range("lora_rank", self.lora_rank, 1, 256)
        if len(self.labels) < 2:
            raise SettingsError(f"labels must be two or more class names, not {self.labels}")


@dataclass(frozen=True)
class TgDferConfig(ModelOptions):
    """Every choice of TG-DFER; Tables 3 to 6 of the paper are values of these fields.

    Attributes:
        frames: T, frames of a window.
        sample_hz: Samples per second of face time.
        fine_depth: Layers of the fine branch; 0 drops it (Table 3).
        coarse_depth: Layers of the coarse branch; 0 drops it (Table 3).
        segment_width: w, frames of a segment (Table 4).
        segment_stride: s, frames between segments; 0 is the table's "X", s = w (Table 4).
        heads: Heads of a temporal layer.
        head_width: Width of one head.
        temporal_mlp: Hidden width of a temporal layer's MLP over d.
        prompt_text: What follows the contexts: ``class`` name or ``descriptors`` (Table 5).
        prompt_learnable: Whether contexts are learned before the text (Table 5).
        contexts: M, learnable contexts per class.
        visual_prompt: ``none``, ``add`` or ``prepend`` (Table 5).
        visual_softmax: Weigh frames by a softmax over T at the temperature rather than by their cosine (eq.
            7).
        pool: How instance logits become the bag's: ``mean``, ``topk``, ``attention`` or ``logsumexp``.
        pool_k: Frames kept by ``topk``.
        influence: ``all`` frames, or only the k of ``highest`` or ``lowest`` influence, make the bag (Table
            6).
        influence_k: k of Table 6.
        temperature: tau, what cosines are divided by.
        class_bias: Added to every frame's logits, one number per class, or none: logit adjustment for rare classes
            (Menon et al., ICLR 2021, eq. 9).
    """

    frames: int = 16
    sample_hz: float = 8.0
    fine_depth: int = 1
    coarse_depth: int = 1
    segment_width: int = 4
    segment_stride: int = 1
    heads: int = 8
    head_width: int = 64
    temporal_mlp: float = 2.0
    prompt_text: Literal["class", "descriptors"] = "class"
    prompt_learnable: bool = True
    contexts: int = 8
    visual_prompt: Literal["none", "add", "prepend"] = "add"
    visual_softmax: bool = False
    pool: Literal["mean", "topk", "attention", "logsumexp"] = "mean"
    pool_k: int = 4
    influence: Literal["all", "highest", "lowest"] = "all"
    influence_k: int = 2
    temperature: float = 0.01
    class_bias: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range("frames", self.frames, 1, 512)
        in_range("fine_depth", self.fine_depth, 0, 24)
        in_range("coarse_depth", self.coarse_depth, 0, 24)
        in_range("segment_width", self.segment_width, 1, self.frames)
        in_range("segment_stride", self.segment_stride, 0, self.segment_width)
        in_range("contexts", self.contexts, 1, 64)
        in_range("pool_k", self.pool_k, 1, self.frames)
        in_range("influence_k", self.influence_k, 1, self.frames)
        in_range("temperature", self.temperature, 1e-4, 100.0)
        if self.class_bias and len(self.class_bias) != len(self.labels):
            raise SettingsError(f"class_bias: {len(self.class_bias)} numbers for {len(self.labels)} classes")


@dataclass(frozen=True)
class DkClipConfig(ModelOptions):
    """Every choice of DK-CLIP; Tables 4 to 6 and Fig. 3 of the paper are values of these fields.

    Attributes:
        frames: T, frames of a window.
        snippets: N, snippets of a window (Fig. 3); each has T / N frames.
        sample_hz: Samples per second of face time.
        hop: Samples between runs of the head where one unit is the whole window; else the unit's length is.
        temporal: ``mean`` of frames (HVE off), ``transformer`` over frames with a class token, ``cfam`` over
            the whole window, or ``hierarchical``, CFAM and MSIM (Tables 4 and 5).
        prompt_text: ``names``, ``descriptors``, or action units joined by ``aus-and`` or ``aus-or`` (Table
            6).
        contexts: Learned contexts per class before the text, 0 for none (Table 6, b and c).
        cross_modal: Whether CMAM refines the texts (ETP, Table 4; off in Table 6, a to c).
        consistency: Whether snippets are erased and local terms exist (CCR, Table 4).
        threshold: theta, below which a snippet's share erases it (eq. 9, Fig. 3).
        local_fusion: ``probabilities``, eq. 10 with weights that sum to 1, or ``logits``, as the public code
            has it.
        heads: Heads of MSIM and CMAM.
        outer_residual: Whether MSIM adds the snippets outside its layer, as X-CLIP does; eq. 6 as printed does not.
    """

    frames: int = 16
    snippets: int = 4
    sample_hz: float = 8.0
    hop: int = 4
    temporal: Literal["mean", "transformer", "cfam", "hierarchical"] = "hierarchical"
    prompt_text: Literal["names", "descriptors", "aus-and", "aus-or"] = "aus-or"
    contexts: int = 0
    cross_modal: bool = True
    consistency: bool = True
    threshold: float = 0.15
    local_fusion: Literal["probabilities", "logits"] = "probabilities"
    heads: int = 8
    outer_residual: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range("frames", self.frames, 1, 512)
        in_range("snippets", self.snippets, 1, self.frames)
        in_range("hop", self.hop, 1, self.frames)
        in_range("contexts", self.contexts, 0, 64)
        in_range("threshold", self.threshold, 0.0, 1.0)
        if self.frames % self.snippets:
            raise SettingsError(f"frames {self.frames} do not divide into {self.snippets} snippets")
        if self.consistency and self.temporal != "hierarchical":
            raise SettingsError("consistency needs snippets", f"with temporal={self.temporal} set consistency=false")

    @property
    def unit(self) -> int:
        """U, frames of a unit."""
        return {"mean": 1, "transformer": 1, "cfam": self.frames}.get(self.temporal, self.frames // self.snippets)

    @property
    def window(self) -> int:
        """W, units of a window."""
        return self.frames // self.unit


@dataclass(frozen=True)
class ClipGuidedConfig(ModelOptions):
    """Every choice of CLIP-Guided; Tables 2 to 5 of the paper are values of these fields.

    Attributes:
        frames: T, frames of a window.
        sample_hz: Samples per second of face time.
        hop: Samples between two scores; each encodes its T frames anew.
        interfit: Whether frames exchange interaction tokens (Table 2).
        msta: Whether scales are aggregated; off, V is the mean over T (Table 2).
        blocks: M, BiEhPro blocks; 0 drops BiEhPro (Tables 2 and 4).
        visual_prompt: Whether BiEhPro refines the video too; off, only the texts (Table 5, "TP").
        text: Whether classes are texts; off, a linear layer classifies V (Table 3).
        pad_second: Pad the second pool by one, so that it differs from the first.
        heads: Heads of a BiEhPro attention.
        head_width: Width of one head.
    """

    frames: int = 8
    sample_hz: float = 4.0
    hop: int = 2
    interfit: bool = True
    msta: bool = True
    blocks: int = 2
    visual_prompt: bool = True
    text: bool = True
    pad_second: bool = False
    heads: int = 12
    head_width: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        in_range("frames", self.frames, 5 if self.msta else 1, 512)
        in_range("hop", self.hop, 1, self.frames)
        in_range("blocks", self.blocks, 0, 24)
        if self.pad_second and self.frames % 3 != 2:
            raise SettingsError(f"pad_second needs frames of remainder 2 by 3, such as 8, not {self.frames}")
        if not self.text and self.blocks:
            raise SettingsError("BiEhPro needs texts", "with text=false set blocks=0")


OPTIONS: dict[str, type[ModelOptions]] = {
    "tg-dfer": TgDferConfig,
    "dk-clip": DkClipConfig,
    "clip-guided": ClipGuidedConfig,
}
"""Options of each model, by the model's name."""

ENCODERS: tuple[str, ...] = (*SIZES, "compact")
"""Names an encoder may have."""
