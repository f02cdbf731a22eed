"""Streaming equals offline for the three models: finished units are encoded once, only the head runs
again."""

import pytest
import torch

from train.models.registry import build


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tg-dfer", {}),
        ("dk-clip", {}),
        ("dk-clip", {"snippets": 16}),
        ("dk-clip", {"snippets": 1}),
        ("clip-guided", {}),
    ],
    ids=str,
)
def test_streaming_equals_offline_at_every_number_of_frames(name: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    # Label embeddings: the text side is not what streams.
    model = build(name, "tiny", options, text_side="labels").eval()
    spec = model.spec()
    size, hop = spec.crop.size_px, spec.hop
    frames = torch.randint(0, 256, (spec.samples + 2 * spec.unit + 3, size, size, 3), dtype=torch.uint8)
    head = model.runtime_head()
    encoder = model.runtime_encoder()
    finished: list[torch.Tensor] = []
    with torch.no_grad():
        for n in range(1, len(frames) + 1):
            if n >= spec.unit and (n - spec.unit) % hop == 0:
                finished.append(encoder(frames[n - spec.unit : n][None]))
            if not finished:
                continue
            newest = [finished[max(i, 0)] for i in range(len(finished) - spec.window, len(finished))]
            logits, relevance, *now = head(torch.stack(newest, dim=1))
            # Offline: the same window of finished units, padded at the front with its first unit, as one
            # clip.
            first = max(len(finished) - spec.window, 0)
            units = [max(i, first) for i in range(len(finished) - spec.window, len(finished))]
            clip = torch.cat([frames[u * hop : u * hop + spec.unit] for u in units])
            normal = (clip.permute(0, 3, 1, 2) / 255 - model.mean[0]) / model.std[0]
            offline = model(normal[None])
            torch.testing.assert_close(logits.softmax(-1), offline.logits.softmax(-1), atol=1e-5, rtol=0)
            torch.testing.assert_close(relevance, offline.relevance, atol=1e-5, rtol=0)
            if now:
                assert offline.now is not None
                torch.testing.assert_close(now[0].softmax(-1), offline.now.softmax(-1), atol=1e-5, rtol=0)
    assert len(finished) == (len(frames) - spec.unit) // hop + 1
