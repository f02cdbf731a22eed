from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engine.backends import Backend, open_backend
from engine.backends.protocol import HeadOutput
from engine.bundle import softmax
from stream.window.windows import FaceWindows

FAST = hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CROPS = np.random.default_rng(7).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=["frames", "snippets", "whole"])
def backend(request: pytest.FixtureRequest, small_bundle: Callable[[str], Path]) -> Backend:
    return open_backend(small_bundle(request.param), "onnxruntime", threads=1)


def offline(backend: Backend, samples: list[int]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Probabilities and relevance of the newest window of finished units, encoded from scratch."""
    spec = backend.spec
    if spec.window == 1:
        usable = len(samples) - len(samples) % spec.hop
        newest = samples[:usable][-spec.unit :]
        units = [[newest[0]] * (spec.unit - len(newest)) + newest]
    else:
        finished = [samples[i : i + spec.unit] for i in range(0, len(samples) - spec.unit + 1, spec.unit)]
        units = finished[-spec.window :]
        units = [units[0]] * (spec.window - len(units)) + units
    features = np.asarray(backend.encode(np.stack([CROPS[unit] for unit in units])))
    output = backend.head(features, np.arange(len(units), dtype=np.int32)[None])
    return softmax(output.logits[0]), output.relevance[0] / output.relevance[0].sum()


@FAST
@given(st.lists(st.integers(0, 63), min_size=1, max_size=70))
def test_streaming_equals_offline_at_every_completed_hop(backend: Backend, samples: list[int]) -> None:
    windows = FaceWindows(backend.spec, backend, faces=2)
    scored = 0
    for i, sample in enumerate(samples):
        windows.observe(["a"], i * 125_000_000, 10**9)
        windows.step(i, {"a": CROPS[sample]}, i * 125_000_000, i)
        state = windows.report("a")
        if (i + 1) % backend.spec.hop:
            continue
        assert state.score is not None
        assert state.score.frame_id == i
        probs, relevance = offline(backend, samples[: i + 1])
        np.testing.assert_allclose(softmax(state.score.logits), probs, atol=1e-5)
        np.testing.assert_allclose(state.score.relevance, relevance, atol=1e-5)
        scored += 1
    assert scored == len(samples) // backend.spec.hop
    assert windows.report("a").n == min(len(samples), backend.spec.samples)


@FAST
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 63), st.booleans()), min_size=1, max_size=60),
)
def test_faces_do_not_mix_and_a_reset_forgets(backend: Backend, steps: list[tuple[str, int, bool]]) -> None:
    windows = FaceWindows(backend.spec, backend, faces=3)
    histories: dict[str, list[int]] = {name: [] for name in "abc"}
    ticks = dict.fromkeys("abc", -1)
    for tick, (name, sample, reset) in enumerate(steps):
        if reset:
            windows.reset(name)
            histories[name].clear()
        if histories[name]:  # the ticks between repeat the sample before them
            histories[name] += [histories[name][-1]] * (tick - ticks[name] - 1)
        histories[name].append(sample)
        ticks[name] = tick
        windows.step(tick, {name: CROPS[sample]}, tick * 125_000_000, tick)
        done = len(histories[name]) - len(histories[name]) % backend.spec.hop
        state = windows.report(name)
        if done == len(histories[name]):
            assert state.score is not None
            np.testing.assert_allclose(softmax(state.score.logits), offline(backend, histories[name])[0], atol=1e-5)
        assert state.n == min(len(histories[name]), backend.spec.samples)


def test_a_missed_tick_repeats_and_is_counted(small_bundle: Callable[[str], Path]) -> None:
    backend = open_backend(small_bundle("frames"), "onnxruntime", threads=1)
    windows = FaceWindows(backend.spec, backend, faces=1)
    windows.step(0, {"a": CROPS[0]}, 0, 0)
    windows.step(3, {"a": CROPS[1]}, 375_000_000, 9)
    state = windows.report("a")
    assert (state.n, state.gaps) == (4, 2)
    assert state.score is not None
    np.testing.assert_allclose(softmax(state.score.logits), offline(backend, [0, 0, 0, 1])[0], atol=1e-5)


def test_a_face_unseen_for_too_long_starts_anew(small_bundle: Callable[[str], Path]) -> None:
    backend = open_backend(small_bundle("frames"), "onnxruntime", threads=1)
    windows = FaceWindows(backend.spec, backend, faces=1)
    for tick in range(16):
        windows.observe(["a"], tick * 125_000_000, 250_000_000)
        windows.step(tick, {"a": CROPS[tick]}, tick * 125_000_000, tick)
    assert windows.report("a").full
    late_ns = 15 * 125_000_000 + 250_000_001
    assert windows.observe(["a"], late_ns, 250_000_000) == ["a"]
    assert windows.report("a").n == 0
    assert windows.report("a").score is None
    windows.step(18, {"a": CROPS[5]}, late_ns, 18)
    state = windows.report("a")
    assert (state.n, state.gaps) == (1, 0)
    assert state.score is not None
    np.testing.assert_allclose(softmax(state.score.logits), offline(backend, [5])[0], atol=1e-5)


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_faster_encoding_takes_every_kth_feature(small_bundle: Callable[[str], Path], stride: int) -> None:
    backend = open_backend(small_bundle("frames"), "onnxruntime", threads=1)
    windows = FaceWindows(backend.spec, backend, faces=1, stride=stride)
    samples = np.random.default_rng(stride).integers(0, 64, 90).tolist()
    for tick, sample in enumerate(samples):
        windows.step(tick, {"a": CROPS[sample]}, tick, tick)
        every_kth = samples[tick::-stride][::-1]
        state = windows.report("a")
        assert state.score is not None
        np.testing.assert_allclose(softmax(state.score.logits), offline(backend, every_kth)[0], atol=1e-5)
        assert state.n == min(len(every_kth), 16)


def test_stride_needs_single_frame_units(small_bundle: Callable[[str], Path]) -> None:
    backend = open_backend(small_bundle("snippets"), "onnxruntime", threads=1)
    with pytest.raises(ValueError, match="unit = 1"):
        FaceWindows(backend.spec, backend, faces=1, stride=2)


def test_more_tracks_than_slots_evicts_the_one_unseen_longest(small_bundle: Callable[[str], Path]) -> None:
    backend = open_backend(small_bundle("frames"), "onnxruntime", threads=1)
    windows = FaceWindows(backend.spec, backend, faces=2)
    for tick, name in enumerate(["a", "b", "c"]):
        windows.observe(["b", "c"], tick, 10**12)
        windows.step(tick, {name: CROPS[tick]}, tick, tick)
    assert windows.report("a").n == 0
    assert windows.report("b").n == 1
    assert windows.report("c").n == 1


def test_another_back_end_starts_every_window_anew(small_bundle: Callable[[str], Path]) -> None:
    path = small_bundle("frames")
    windows = FaceWindows((first := open_backend(path, "onnxruntime", threads=1)).spec, first, faces=2)
    windows.step(0, {"a": CROPS[0]}, 0, 0)
    windows.replace_backend(open_backend(path, "openvino", threads=1, precision="fp32"))
    assert windows.report("a").n == 0
    windows.step(1, {"a": CROPS[3]}, 1, 1)
    score = windows.report("a").score
    assert score is not None
    np.testing.assert_allclose(softmax(score.logits), offline(first, [3])[0], atol=1e-5)


def test_a_step_may_finish_later_and_faces_reset_meanwhile_are_left_alone(small_bundle: Callable[[str], Path]) -> None:
    backend = open_backend(small_bundle("frames"), "onnxruntime", threads=1)
    windows = FaceWindows(backend.spec, backend, faces=3)
    windows.step(0, {"a": CROPS[0], "b": CROPS[1], "c": CROPS[2]}, 0, 0)
    hop = windows.begin(1, {"a": CROPS[3], "b": CROPS[4], "c": CROPS[5]}, 125_000_000, 4)
    features = windows.encode(hop)
    windows.reset("b")
    windows.observe(["a", "b"], 500_000_000, 250_000_000)  # c was unseen for too long, and so was a
    windows.step(4, {"b": CROPS[9]}, 500_000_000, 16)
    windows.finish(hop, features)
    assert (windows.report("a").n, windows.report("c").n) == (0, 0)
    assert windows.report("a").score is None
    state = windows.report("b")
    assert state.score is not None
    assert (state.n, state.score.frame_id) == (1, 16)
    np.testing.assert_allclose(softmax(state.score.logits), offline(backend, [9])[0], atol=1e-5)


def test_a_score_says_whether_its_own_window_was_full(small_bundle: Callable[[str], Path]) -> None:
    backend = open_backend(small_bundle("frames"), "onnxruntime", threads=1)
    windows = FaceWindows(backend.spec, backend, faces=1)
    for tick in range(15):
        windows.step(tick, {"a": CROPS[tick]}, tick, tick)
        assert not windows.report("a").full
    hop = windows.begin(15, {"a": CROPS[15]}, 15, 15)
    waiting = windows.report("a")
    assert waiting.full
    assert waiting.score is not None
    assert not waiting.score.full
    windows.finish(hop, windows.encode(hop))
    scored = windows.report("a").score
    assert scored is not None
    assert scored.full


def test_a_score_carries_the_newest_samples_own_logits_and_its_time(backend: Backend) -> None:
    windows, spec = FaceWindows(backend.spec, backend, faces=1), backend.spec
    for tick in range(spec.samples):
        windows.step(tick, {"a": CROPS[tick]}, tick * 125_000_000, 100 + tick)
    score, last = windows.report("a").score, spec.samples - 1
    assert score is not None
    assert (score.t_ns, score.frame_id, score.full) == (last * 125_000_000, 100 + last, True)
    units = CROPS[: spec.samples].reshape(spec.window, spec.unit, *CROPS.shape[1:])
    expected = backend.head(np.asarray(backend.encode(units)), np.arange(spec.window, dtype=np.int32)[None])
    assert expected.now is not None
    assert score.now is not None
    np.testing.assert_allclose(score.now, expected.now[0], atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_window_spans_the_time_of_its_own_samples(small_bundle: Callable[[str], Path], stride: int) -> None:
    backend = open_backend(small_bundle("frames"), "onnxruntime", threads=1)
    windows = FaceWindows(backend.spec, backend, faces=1, stride=stride)
    assert windows.report("a").span_ms == 0
    for tick in range(40):
        windows.step(tick, {"a": CROPS[tick]}, tick * 125_000_000 // stride, tick)
        assert windows.report("a").span_ms == pytest.approx(min(tick // stride, 15) * 125)


@pytest.mark.parametrize(
    ("said", "meant"), [([np.nan, 1, 3, 0], [0, 0.25, 0.75, 0]), ([-1, 1, 0, 0], [0, 1, 0, 0]), ([0] * 4, [0.25] * 4)]
)
def test_relevance_is_never_negative_and_sums_to_one(
    small_bundle: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, said: list[float], meant: list[float]
) -> None:
    backend = open_backend(small_bundle("frames"), "onnxruntime", threads=1)
    head = backend.head

    def odd(*args: Any) -> HeadOutput:
        output = head(*args)
        return HeadOutput(output.logits, np.array([said], np.float32), output.now)

    monkeypatch.setattr(backend, "head", odd)
    windows = FaceWindows(backend.spec, backend, faces=1)
    windows.step(0, {"a": CROPS[0]}, 0, 0)
    score = windows.report("a").score
    assert score is not None
    np.testing.assert_allclose(score.relevance, meant)


@pytest.mark.parametrize(
    ("cadence", "stride", "hop_s", "delay_s"),
    [("frames", 1, 0.125, 1.875), ("frames", 2, 0.0625, 1.875), ("snippets", 1, 0.5, 2.25), ("whole", 1, 0.5, 2.0)],
)
def test_a_window_says_how_long_it_delays(
    small_bundle: Callable[[str], Path], cadence: str, stride: int, hop_s: float, delay_s: float
) -> None:
    """From the first sample to the sixteenth, and at worst all but one sample of a hop."""
    backend = open_backend(small_bundle(cadence), "onnxruntime", threads=1)
    windows = FaceWindows(backend.spec, backend, faces=1, stride=stride)
    assert (windows.hop_s, windows.delay_s) == pytest.approx((hop_s, delay_s))
