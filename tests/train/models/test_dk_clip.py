"""DK-CLIP: counts, noise reduction, local predictions, every variant of Tables 4 to 6 and Fig. 3."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from engine.settings import SettingsError
from train.models.clip.size import SIZES
from train.models.dk_clip import DkClip, DkClipHead, kept_snippets, snippet_shares
from train.models.options import DkClipConfig
from train.models.registry import build


def tiny(**options: object) -> DkClip:
    torch.manual_seed(0)
    model = build("dk-clip", "tiny", options)
    assert isinstance(model, DkClip)
    return model.eval()


def count(module: object) -> int:
    assert isinstance(module, nn.Module)
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("encoder", "vision", "whole", "feature"),
    [("vit-b-32", 123_303_168, 123_697_920, 25_600), ("vit-b-16", 121_646_592, 122_041_344, 100_864)],
)
def test_parts_have_the_settled_parameter_counts(encoder: str, vision: int, whole: int, feature: int) -> None:
    with torch.device("meta"):
        model = build("dk-clip", encoder)
    assert isinstance(model, DkClip)
    assert count(model.encoder.vision) == vision
    assert count(model.encoder.vision.exchange) == 12 * 2_954_496
    assert count(model.encoder) == whole
    assert count(model.window_head.temporal) == 3_154_432
    assert count(model.window_head.refinement) == 6_303_232
    assert model.spec().feature == feature


VARIANTS = [
    # Table 4
    {"temporal": "mean", "prompt_text": "names", "cross_modal": False, "consistency": False},
    {"prompt_text": "names", "cross_modal": False, "consistency": False},
    {"temporal": "mean", "consistency": False},
    {"consistency": False},
    {},
    # Table 5, b and c; a and d are above
    {"temporal": "transformer", "consistency": False},
    {"temporal": "cfam", "consistency": False},
    # Table 6; e is the default
    {"prompt_text": "names", "cross_modal": False},
    {"prompt_text": "names", "contexts": 4, "cross_modal": False},
    {"prompt_text": "descriptors", "contexts": 4, "cross_modal": False},
    {"prompt_text": "aus-and"},
    # Fig. 3
    *({"snippets": n} for n in (1, 2, 8, 16)),
    {"local_fusion": "logits"},
    {"outer_residual": False},
]


def blind(model: DkClip, trained: set[str]) -> set[str]:
    """Parameters whose gradient is exactly zero, or nothing but rounding.

    Before the first layer all frames have the same class token, so its messages are equal and how they attend to each
    other changes nothing; nor does it where only one token attends. A key's bias shifts all scores of a query alike.
    """
    alone = ["encoder.vision.exchange." if model.config.unit == 1 else "encoder.vision.exchange.0."]
    if model.config.window == 1:
        alone.append("window_head.temporal.")
    query_key = (".attention.q.weight", ".attention.q.bias", ".attention.k.weight")
    unread = {n for n in trained for root in alone if n.startswith(root) and n.endswith(query_key)}
    return unread | {n for n in trained if n.endswith("attention.k.bias")}


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_every_variant_scores_a_clip_and_reaches_every_trained_parameter(options: dict[str, object]) -> None:
    model = tiny(**options)
    output = model(torch.randn(2, 16, 3, 32, 32))
    assert output.logits.shape == (2, 7)
    assert output.relevance.shape == (2, 16)
    assert output.now is None
    loss = nn.functional.cross_entropy(output.logits, torch.tensor([0, 1]))
    if model.config.consistency:
        local = output.extras["local_log_probs"]
        if model.config.local_fusion == "probabilities":
            torch.testing.assert_close(local.exp().sum(dim=1), torch.ones(2))
        loss = loss + nn.functional.nll_loss(local, torch.tensor([0, 1]))
    torch.autograd.backward(loss)
    trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
    without = {n for n, p in trained.items() if p.grad is None or not p.grad.abs().sum() > 0}
    assert without <= blind(model, set(trained))
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


@pytest.mark.parametrize("snippets", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.15, 0.25, 1.0])
def test_noise_reduction_keeps_a_snippet_and_gives_no_nan_on_equal_input(snippets: int, threshold: float) -> None:
    same = torch.ones(3, snippets, 8, requires_grad=True)
    shares = snippet_shares(same, same.mean(dim=1))
    torch.testing.assert_close(shares, torch.full((3, snippets), 1 / snippets))
    assert kept_snippets(shares, threshold).sum(dim=1).min() >= 1
    torch.autograd.backward((shares * torch.arange(snippets)).sum())
    assert same.grad is not None
    assert same.grad.isfinite().all()
    torch.manual_seed(snippets)
    shares = snippet_shares(torch.randn(64, snippets, 8), torch.randn(64, 8))
    kept = kept_snippets(shares, threshold)
    assert kept.sum(dim=1).min() >= 1
    assert (kept.gather(1, shares.argmax(dim=1, keepdim=True)) == 1).all()
    assert ((shares >= threshold) <= (kept == 1)).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 16), st.integers(0, 1000))
def test_shares_are_a_distribution(snippets: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    shares = snippet_shares(torch.randn(2, snippets, 6, generator=generator), torch.randn(2, 6, generator=generator))
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(2))
    assert shares.min() > 0


def test_equal_frames_give_finite_answers_and_gradients() -> None:
    model = tiny()
    output = model(torch.randn(1, 1, 3, 32, 32).expand(2, 16, -1, -1, -1))
    torch.autograd.backward(output.logits.sum() + output.extras["local_log_probs"][:, 0].sum())
    assert output.logits.isfinite().all()
    assert output.extras["local_log_probs"].isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_erased_snippet_reaches_neither_prompts_nor_local_prediction() -> None:
    model = tiny(threshold=0.25)
    features = torch.randn(1, 4, model.encoder.feature)
    first = model.head(features)
    erased = int((first.extras["kept"][0] == 0).nonzero()[0])
    changed = features.clone()
    changed[0, erased, model.encoder.joint :] = torch.randn(model.encoder.feature - model.encoder.joint)
    second = model.head(changed)
    torch.testing.assert_close(second.logits, first.logits)
    torch.testing.assert_close(second.extras["local_log_probs"], first.extras["local_log_probs"])


def test_local_prediction_is_the_weighted_mean_of_kept_predictions() -> None:
    model = tiny()
    logits, shares = torch.randn(2, 4, 7), torch.rand(2, 4).softmax(dim=1)
    kept = torch.tensor([[1.0, 0, 1, 1], [0, 0, 0, 1]])
    weights = kept * shares / (kept * shares).sum(dim=1, keepdim=True)
    expected = (weights[:, :, None] * logits.softmax(dim=-1)).sum(dim=1)
    assert isinstance(model.window_head, DkClipHead)
    torch.testing.assert_close(model.window_head.local(logits, shares, kept).exp(), expected)


def test_relevance_is_the_share_of_the_frames_snippet() -> None:
    output = tiny()(torch.randn(2, 16, 3, 32, 32))
    torch.testing.assert_close(output.relevance, output.extras["shares"].repeat_interleave(4, dim=1))


def test_frames_of_other_snippets_do_not_reach_a_snippets_feature() -> None:
    model = tiny()
    clip = torch.randn(1, 16, 3, 32, 32)
    other = clip.clone()
    other[:, 4:] = torch.randn(1, 12, 3, 32, 32)
    assert torch.equal(model.encode_units(clip[:, :4]), model.encode_units(other[:, :4]))
    swapped = clip[:, [1, 0, 2, 3]]
    torch.testing.assert_close(model.encode_units(swapped), model.encode_units(clip[:, :4]), atol=1e-5, rtol=1e-5)
    changed = clip[:, :4].clone()
    changed[:, 3] = 0
    assert not torch.allclose(model.encode_units(changed), model.encode_units(clip[:, :4]))


def test_consistency_without_snippets_is_refused_with_the_remedy() -> None:
    with pytest.raises(SettingsError, match="set consistency=false"):
        DkClipConfig(temporal="mean")
    with pytest.raises(SettingsError, match="do not divide into 3 snippets"):
        DkClipConfig(snippets=3)


def test_msim_adds_the_snippets_outside_its_layer_unless_read_as_printed() -> None:
    ours, printed = tiny(), tiny(outer_residual=False)
    printed.load_state_dict(ours.state_dict())
    outer, bare = (model.get_submodule("window_head.temporal") for model in (ours, printed))
    window, feature = ours.spec().window, ours.spec().feature
    snippets = torch.randn(3, window, feature // SIZES["tiny"].tokens)
    # What both share is the mean of the layer; outside it, ours adds the mean of the snippets.
    torch.testing.assert_close(outer(snippets) - snippets.mean(dim=1), bare(snippets))
    features = torch.randn(3, window, feature)
    answers = [model.head(features).logits for model in (ours, printed)]
    assert (answers[0] - answers[1]).abs().max() > 1e-3
