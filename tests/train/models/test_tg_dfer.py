"""TG-DFER: counts, temporal segments, streaming, gradients."""

import pytest
import torch
from torch import nn

from train.models.options import TgDferConfig
from train.models.tg_dfer import TgDfer, TgDferHead, overlap_matrix, segment_starts

SMALL = {"heads": 2, "head_width": 8}


class TinyBackbone(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 8, stride=8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.conv(x)).mean(dim=(2, 3))


def tiny(**options: object) -> TgDfer:
    torch.manual_seed(0)
    return TgDfer(TgDferConfig(**{**SMALL, **options}), TinyBackbone(24), 24).eval()  # type: ignore[arg-type]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 6_837_248), ({"visual_prompt": "prepend"}, 7_885_824), ({"visual_prompt": "none"}, 6_837_248)],
)
def test_head_has_the_settled_parameter_count(options: dict[str, str], expected: int) -> None:
    with torch.device("meta"):
        assert count(TgDferHead(TgDferConfig(**options), 512)) == expected  # type: ignore[arg-type]


TABLE_4 = [(0, 2), (0, 4), (0, 8), (1, 2), (1, 4), (1, 8), (2, 4), (2, 8), (3, 4)]


@pytest.mark.parametrize(("stride", "width"), [*TABLE_4, (3, 5), (5, 6)])
def test_overlap_rows_sum_to_one_and_average_copies_of_their_own_frame(stride: int, width: int) -> None:
    starts = segment_starts(16, width, stride)
    matrix = overlap_matrix(16, starts, width)
    assert matrix.shape == (16, len(starts) * width)
    torch.testing.assert_close(matrix.sum(dim=1), torch.ones(16))
    frame_of = torch.tensor([start + j for start in starts for j in range(width)], dtype=torch.float32)
    torch.testing.assert_close(matrix @ frame_of, torch.arange(16.0))


def test_default_window_has_thirteen_segments() -> None:
    assert segment_starts(16, 4, 1) == list(range(13))


@pytest.mark.parametrize(
    "options",
    [
        *({"fine_depth": f, "coarse_depth": c} for f, c in ((0, 0), (0, 1), (1, 0), (2, 1))),
        *({"segment_stride": s, "segment_width": w} for s, w in TABLE_4),
        *({"visual_prompt": v} for v in ("none", "add", "prepend")),
        *({"pool": p} for p in ("topk", "attention", "logsumexp")),
        *({"influence": i, "influence_k": k} for i in ("highest", "lowest") for k in (1, 2, 3)),
        {"visual_softmax": True},
    ],
)
def test_every_variant_scores_a_clip_and_reaches_every_parameter(options: dict[str, object]) -> None:
    model = tiny(**options)
    output = model(torch.randn(3, 16, 3, 16, 16))
    assert output.logits.shape == (3, 7)
    assert output.relevance.shape == (3, 16)
    assert output.now is not None
    assert output.now.shape == (3, 7)
    torch.testing.assert_close(output.relevance.sum(dim=1), torch.ones(3))
    torch.autograd.backward(nn.functional.cross_entropy(output.logits, torch.tensor([0, 1, 2])))
    assert [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_table_3_depth_zero_drops_branch_and_positions() -> None:
    names = {n for n, _ in TgDferHead(TgDferConfig(fine_depth=0, coarse_depth=0), 64).named_parameters()}
    assert names == {"refine.up.weight", "refine.up.bias", "refine.down.weight", "refine.down.bias"}


def test_table_6_pools_only_the_chosen_frames() -> None:
    torch.manual_seed(1)
    clip = torch.randn(4, 16, 3, 16, 16)
    whole, best, worst = (tiny(influence=i, influence_k=2)(clip) for i in ("all", "highest", "lowest"))
    for row in range(4):
        order = whole.relevance[row].argsort(descending=True)
        scores = whole.extras["instance_logits"][row]
        torch.testing.assert_close(best.logits[row], scores[order[:2]].mean(dim=0))
        torch.testing.assert_close(worst.logits[row], scores[order[-2:]].mean(dim=0))


def test_streaming_equals_offline_at_every_frame() -> None:
    model = tiny()
    frames = torch.randint(0, 256, (40, 16, 16, 3), dtype=torch.uint8)
    head = model.runtime_head()
    with torch.no_grad():
        features = torch.cat([model.encode_units(f[None, None]) for f in frames])
        for n in range(1, 41):
            newest = [max(i, 0) for i in range(n - 16, n)]
            streamed = head(features[newest][None])
            clip = ((frames[newest].permute(0, 3, 1, 2) / 255) - model.mean[0]) / model.std[0]
            offline = model(clip[None])
            for a, b in zip(streamed, (offline.logits, offline.relevance, offline.now), strict=True):
                a, b = (x if x.shape[-1] == 16 else x.softmax(-1) for x in (a, b))
                torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_newest_frame_is_scored_alone() -> None:
    output = tiny()(torch.randn(2, 16, 3, 16, 16))
    assert output.now is not None
    torch.testing.assert_close(output.now, output.extras["instance_logits"][:, -1])
