"""A whole run: its model, loss, optimizer and loop, and what these ask of one another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.settings import SettingsError
from train.settings.checks import in_range
from train.settings.data import AugmentSettings, DataSettings, MixSettings


@dataclass(frozen=True)
class ModelSettings:
    """Which model.

    Attributes:
        name: ``tg-dfer``, ``dk-clip`` or ``clip-guided``.
        encoder: ``vit-b-32``, ``vit-b-16``, ``compact`` (no CLIP behind it) or ``tiny`` (for tests).
        weights: CLIP weights: a Hugging Face id or folder, or a file of either published layout.
        text_side: ``clip`` for a text encoder, ``labels`` for learned label embeddings, ``auto``: what the encoder has.
        options: The model's own fields, for example ``{fine_depth = 2}``; `dfer-train inspect` lists them.
    """

    name: str = "tg-dfer"
    encoder: str = "vit-b-32"
    weights: str = ""
    text_side: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectiveSettings:
    """The loss.

    Attributes:
        label_smoothing: Share of the target spread over all classes, [0, 1).
        logit_adjustment: Times log of the class prior added to the logits in the loss (Menon et al., ICLR
            2021, eq. 10).
        local_weight: lambda of DK-CLIP's local terms (eq. 11).
        local_until_epoch: Last epoch with local terms; 0 keeps them throughout.
        kl_direction: ``global-local`` for KL(p_g || p_l), or ``local-global``.
        frame_weight: Weight of a frame loss on known frame truth (synthetic or composed clips); 0: not used.
    """

    label_smoothing: float = 0.0
    logit_adjustment: float = 0.0
    local_weight: float = 1.0
    local_until_epoch: int = 0
    kl_direction: Literal["global-local", "local-global"] = "global-local"
    frame_weight: float = 0.0

    def __post_init__(self) -> None:
        in_range("label_smoothing", self.label_smoothing, 0, 0.99)
        in_range("logit_adjustment", self.logit_adjustment, 0, 10)
        in_range("local_weight", self.local_weight, 0, 100)
        in_range("frame_weight", self.frame_weight, 0, 100)


@dataclass(frozen=True)
class OptimSettings:
    """Optimizer and learning-rate schedule.

    Attributes:
        name: ``sgd`` or ``adamw``.
        lr: Learning rate of every parameter without a group of its own.
        groups: Parameter name prefix (whole dotted parts, longest wins) -> learning rate.
        momentum: Of SGD.
        nesterov: Whether SGD looks ahead (Sutskever et al., ICML 2013).
        betas: Of AdamW.
        weight_decay: Of all parameters that decay.
        decay_vectors: Whether biases, norms and other vectors and scalars decay too.
        schedule: ``constant``, ``milestones``, ``cosine``, or ``one-cycle``: by the share of the run that is done,
            whether epochs or minutes bound it, a linear warm-up over the first 5 % and a cosine to zero.
        milestones: Epochs after which the rate is multiplied by gamma.
        gamma: That factor.
        warmup_epochs: Linear warm-up, epochs.
        final_ratio: Last rate of the cosine over the first.
        clip_norm: Largest gradient norm; 0: not clipped.
    """

    name: Literal["sgd", "adamw"] = "adamw"
    lr: float = 1e-4
    groups: Mapping[str, float] = field(default_factory=dict)
    momentum: float = 0.9
    nesterov: bool = False
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 1e-4
    decay_vectors: bool = False
    schedule: Literal["constant", "milestones", "cosine", "one-cycle"] = "cosine"
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    warmup_epochs: float = 0.0
    final_ratio: float = 0.01
    clip_norm: float = 0.0

    def __post_init__(self) -> None:
        in_range("lr", self.lr, 0, 10)
        for prefix, rate in self.groups.items():
            in_range(f"groups.{prefix}", rate, 0, 10)
        in_range("weight_decay", self.weight_decay, 0, 10)
        in_range("warmup_epochs", self.warmup_epochs, 0, 10**6)
        in_range("final_ratio", self.final_ratio, 0, 1)


@dataclass(frozen=True)
class LoopSettings:
    """How training runs.

    Attributes:
        epochs: Passes over the training clips; with `minutes` at most.
        minutes: Wall-clock time of training that bounds the run instead; 0: none.
        batch: Clips per optimizer step, over all processes and micro-batches: it does not change with their number.
        accumulate: Micro-batches per step and process.
        precision: ``fp32``, ``bf16``, ``fp16`` (with loss scaling), or ``auto``: bf16 where this processor is faster in
            it, which is tried; runs that are to repeat exactly name one.
        compiled: Whether the model's step is compiled, which takes a C++ compiler and its first minute.
        ema: Decay of the weights' moving average; 0: none.
        ema_buffers: Whether running statistics of normalisation are averaged with the weights.
        balance: Weighted sampling: 0 as it is, 1 all classes equally often.
        select: ``best-on-validation``, ``last``, or ``paper-protocol`` (the best epoch on the *test* part, as public
            code of DFER-CLIP and DK-CLIP does; never a fair figure).
        monitor: What the best epoch maximises: ``war``, ``uar`` or ``mean`` of both.
        check_every: Epochs between validations; the last epoch always has one.
        patience: Epochs without a better validation after which training stops; 0: never.
        save_steps: Optimizer steps between checkpoints within an epoch; 0: at its end only.
        cache_features: With a frozen encoder, compute the features once and train the head from them.
        feature_views: Augmented views per clip in that cache.
        seed: Of everything drawn.
    """

    epochs: int = 50
    minutes: float = 0.0
    batch: int = 48
    accumulate: int = 1
    precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32"
    compiled: bool = False
    ema: float = 0.0
    ema_buffers: bool = False
    balance: float = 0.0
    select: str = "best-on-validation"
    monitor: Literal["war", "uar", "mean"] = "mean"
    check_every: int = 1
    patience: int = 0
    save_steps: int = 0
    cache_features: bool = False
    feature_views: int = 1
    seed: int = 1

    def __post_init__(self) -> None:
        if self.select == "test":
            raise SettingsError(
                "select: selection on the test part is offered only under the name paper-protocol, "
                "so that its figures are not taken for fair ones"
            )
        if self.select not in ("best-on-validation", "last", "paper-protocol"):
            raise SettingsError(f"select must be best-on-validation, last or paper-protocol, not {self.select!r}")
        in_range("epochs", self.epochs, 1, 10**6)
        in_range("minutes", self.minutes, 0, 10**6)
        in_range("check_every", self.check_every, 1, 10**6)
        in_range("batch", self.batch, 1, 10**6)
        in_range("accumulate", self.accumulate, 1, 10**4)
        in_range("ema", self.ema, 0, 0.999999)
        in_range("balance", self.balance, 0, 1)
        in_range("patience", self.patience, 0, 10**6)
        in_range("save_steps", self.save_steps, 0, 10**9)
        in_range("feature_views", self.feature_views, 1, 1000)
        in_range("seed", self.seed, 0, 2**31)


@dataclass(frozen=True)
class RunConfig:
    """A whole run.

    Attributes:
        data: What is trained on.
        model: Which model.
        augment: How clips are varied.
        mix: How clips are mixed.
        objective: The loss.
        optim: Optimizer and schedule.
        loop: How training runs.
    """

    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    mix: MixSettings = field(default_factory=MixSettings)
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    loop: LoopSettings = field(default_factory=LoopSettings)

    def __post_init__(self) -> None:
        if self.loop.select == "best-on-validation" and self.data.validation == 0:
            raise SettingsError("loop.select = best-on-validation needs data.validation above 0", "or select = last")
        if self.loop.patience and self.data.validation == 0:
            raise SettingsError("loop.patience stops on validation: it needs data.validation above 0")
        if self.loop.cache_features and (self.mix.mixup or self.mix.fmix):
            raise SettingsError("loop.cache_features trains from features", "switch mix.mixup and mix.fmix off")

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON-ready values."""
        return dataclasses.asdict(self)
