"""CLIP-Guided: counts, interaction, aggregation against torch's own pools, every variant of Tables 2 to 5."""

import pytest
import torch
from torch import nn

from engine.settings import SettingsError
from train.models.clip_guided import ClipGuided, TemporalAggregation
from train.models.exchange import BiLstm
from train.models.options import ClipGuidedConfig
from train.models.registry import build


def tiny(**options: object) -> ClipGuided:
    torch.manual_seed(0)
    model = build("clip-guided", "tiny", options)
    assert isinstance(model, ClipGuided)
    return model.eval()


def count(module: object) -> int:
    assert isinstance(module, nn.Module)
    return sum(p.numel() for p in module.parameters())


def test_parts_have_the_settled_parameter_counts() -> None:
    with torch.device("meta"):
        model = build("clip-guided", "vit-b-32")
    assert count(model.encoder) == 250_861_824
    assert count(model.encoder.get_submodule("vision.exchange.0")) == 13_584_384
    assert count(model.window_head.aggregation) == 1_312_768
    assert count(model.get_submodule("window_head.prompts.blocks")) == 14_701_568


VARIANTS = [
    {"interfit": False, "msta": False, "blocks": 0},  # Table 2, baseline
    {"msta": False, "blocks": 0},
    {"blocks": 0},
    {},
    {"text": False, "blocks": 0},  # Table 3
    *({"blocks": m} for m in (1, 3, 4, 5)),  # Table 4
    {"interfit": False, "msta": False, "visual_prompt": False},  # Table 5, TP
    {"interfit": False, "msta": False},  # Table 5, TP + VP
    {"pad_second": True},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_every_variant_scores_a_clip_and_reaches_every_trained_parameter(options: dict[str, object]) -> None:
    model = tiny(**options)
    output = model(torch.randn(2, 8, 3, 32, 32))
    assert output.logits.shape == (2, 7)
    assert output.relevance.shape == (2, 8)
    torch.testing.assert_close(output.relevance.sum(dim=1), torch.ones(2))
    torch.autograd.backward(nn.functional.cross_entropy(output.logits, torch.tensor([0, 1])))
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    without = {n for n, p in trained.items() if p.grad is None or not p.grad.abs().sum() > 0}
    # The texts look at one token: a softmax over one score has no gradient, so its query and key get exactly
    # none. And of a block whose texts nobody reads again, nothing is exempt: every block's texts are read by
    # the next or the scores.
    exempt = {
        f"window_head.prompts.blocks.{m}.text_attention.{side}.{kind}"
        for m in range(model.config.blocks)
        for side in "qk"
        for kind in ("weight", "bias")
    }
    # A key's bias shifts all scores of a query alike, so rounding is all its gradient can be, and all of it
    # may vanish.
    shifts = {n for n in trained if n.endswith("attention.k.bias")}
    assert exempt <= without <= exempt | shifts


@pytest.mark.parametrize("pad_second", [False, True])
@pytest.mark.parametrize("frames", [8, 11, 14])
def test_aggregation_equals_torchs_own_pools(frames: int, pad_second: bool) -> None:
    torch.manual_seed(frames)
    module, x = TemporalAggregation(frames, 6, pad_second), torch.randn(3, frames, 6)
    length = (frames - 5) // 3 + 1
    z = x.transpose(1, 2)
    pools = [
        nn.functional.max_pool1d(z, 5, 3),
        nn.functional.max_pool1d(z, 5, 3, padding=int(pad_second)),
        nn.functional.max_pool1d(z, frames - length + 1, 1),
    ]
    total = pools[0] + pools[1] + pools[2]
    scores = torch.stack([fc(total.transpose(1, 2)).transpose(1, 2) for fc in module.weights])
    mixed = (scores.softmax(dim=0) * torch.stack(pools)).sum(dim=0)
    video, relevance = module(x)
    torch.testing.assert_close(video, module.out(mixed.flatten(1)))
    # By the definition: what each frame wins, by the pools' own indices (no ties in random input).
    starts = (range(0, frames, 3), range(-int(pad_second), frames, 3), range(frames))
    kernels = (5, 5, frames - length + 1)
    won = torch.zeros(3, frames)
    for pool, first, kernel, weight in zip(pools, starts, kernels, scores.softmax(dim=0), strict=True):
        for p in range(length):
            low, high = max(first[p], 0), min(first[p] + kernel, frames)
            hit = z[:, :, low:high] == pool[:, :, p : p + 1]
            won[:, low:high] += (weight[:, :, p : p + 1] * hit).sum(dim=1) / (6 * length)
    torch.testing.assert_close(relevance, won)
    torch.testing.assert_close(relevance.sum(dim=1), torch.ones(3))


def test_ties_share_relevance() -> None:
    _, relevance = TemporalAggregation(8, 4, False)(torch.ones(2, 8, 4))
    torch.testing.assert_close(relevance.sum(dim=1), torch.ones(2))
    assert relevance.min() > 0


def test_unrolled_lstm_equals_torchs_own() -> None:
    torch.manual_seed(0)
    module, x = BiLstm(12), torch.randn(3, 8, 12)
    torch.testing.assert_close(module.unrolled(x), module(x), atol=1e-6, rtol=1e-5)


def test_frames_reach_each_other_with_interfit_only() -> None:
    clip = torch.randn(1, 8, 3, 32, 32)
    changed = clip.clone()
    changed[:, 7] = torch.randn(3, 32, 32)
    for interfit in (True, False):
        model = tiny(interfit=interfit)
        before, after = (model.encode_units(c).reshape(8, -1) for c in (clip, changed))
        same = torch.allclose(before[:7], after[:7], atol=1e-7)
        assert same is not interfit


def test_both_directions_read_the_blocks_input() -> None:
    model = tiny(blocks=1)
    block = model.get_submodule("window_head.prompts.blocks.0")
    texts, video = torch.randn(1, 7, 32), torch.randn(1, 1, 32)
    new_texts, new_video = block(texts, video)
    by_hand = video + block.video_attention(video, texts)  # type: ignore[operator]
    torch.testing.assert_close(new_video, by_hand + block.video_mlp(by_hand))  # type: ignore[operator]
    by_hand = texts + block.text_attention(texts, video)  # type: ignore[operator]
    torch.testing.assert_close(new_texts, by_hand + block.text_mlp(by_hand))  # type: ignore[operator]


def test_bad_combinations_are_refused_with_the_remedy() -> None:
    with pytest.raises(SettingsError, match="set blocks=0"):
        ClipGuidedConfig(text=False)
    with pytest.raises(SettingsError, match="remainder 2 by 3"):
        ClipGuidedConfig(frames=9, pad_second=True)
