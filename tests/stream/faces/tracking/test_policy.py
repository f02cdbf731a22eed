"""Identity keeping with scripted observations: no net, no image."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from stream.faces.nets.regions import Region
from stream.faces.settings import FaceError, FaceSettings
from stream.faces.tracking.associate import Place, assign, cost, gate, match
from stream.faces.tracking.motion import TrajectoryPoint, extrapolate
from stream.faces.tracking.policy import Tracks
from stream.faces.tracking.template import Alignment, Template
from stream.faces.tracking.track import Look, Observation, Track

SETTINGS = FaceSettings()
PERIOD_NS = 33_333_333


def seen(x: float, y: float = 200.0, size: float = 100.0) -> Observation:
    points = np.zeros((468, 3), np.float32)
    box = (x - size / 2, y - size / 2, size, size)
    return Observation(points, points[:5, :2], 1.0, Place(x, y, size), Region(x, y, 1.5 * size), box)


class Clock:
    """Steps frames of a Tracks object."""

    def __init__(self, settings: FaceSettings = SETTINGS) -> None:
        self.tracks = Tracks(settings)
        self.t_ns = 0
        self.lost: list[str] = []

    def frame(self, observed: dict[Track, Observation], dx: float = 0.0) -> None:
        self.t_ns += PERIOD_NS
        self.tracks.begin(self.t_ns, dx, 0.0)
        for track, where in observed.items():
            self.tracks.observe(track, where)

    def end(self) -> None:
        self.lost += [t.id for t in self.tracks.end()]

    def follow(self, track: Track, xs: list[float]) -> None:
        for x in xs:
            self.frame({track: seen(x)})
            self.end()

    def start(self, x: float) -> Track:
        self.frame({})
        track = self.tracks.start(seen(x), 0.9)
        self.end()
        return track


@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=150, deadline=None)
def test_assignment_costs_what_scipys_costs(rows: int, columns: int, seed: int, ties: bool) -> None:
    random = np.random.default_rng(seed)
    table = random.integers(0, 4, (rows, columns)).astype(float) if ties else random.normal(0, 5, (rows, columns))
    pairs = assign(table)
    expected = linear_sum_assignment(table)
    assert len(pairs) == min(rows, columns)
    assert len({r for r, _ in pairs}) == len({c for _, c in pairs}) == len(pairs)
    assert sum(table[r, c] for r, c in pairs) == pytest.approx(table[expected].sum(), abs=1e-9)


def places(count: int) -> st.SearchStrategy[list[Place]]:
    place = st.builds(Place, st.floats(0, 600), st.floats(0, 400), st.floats(20, 200))
    return st.lists(place, min_size=1, max_size=count)


@given(places(4), places(4))
@settings(max_examples=80, deadline=None)
def test_matching_prefers_more_matches_then_lower_cost(faces: list[Place], found: list[Place]) -> None:
    gates = [0.8] * len(faces)
    pairs = match(faces, gates, found)
    assert all(cost(faces[i], found[j]) <= gates[i] for i, j in pairs.items())
    best: tuple[int, float] = (0, 0.0)
    wide = max(len(faces), len(found))
    for order in permutations(range(wide), len(faces)):
        allowed = [
            cost(faces[i], found[j])
            for i, j in enumerate(order)
            if j < len(found) and cost(faces[i], found[j]) <= gates[i]
        ]
        best = max(best, (len(allowed), -sum(allowed)))
    assert len(pairs) == best[0]
    assert sum(cost(faces[i], found[j]) for i, j in pairs.items()) == pytest.approx(-best[1], abs=1e-9)


def test_the_gate_widens_with_time_up_to_its_limit() -> None:
    widths = [gate(SETTINGS, s) for s in (0.0, 0.2, 0.5, 5.0)]
    assert widths == sorted(widths)
    assert widths[0] == SETTINGS.gate
    assert widths[-1] == SETTINGS.gate_max


def test_a_face_that_is_hidden_keeps_its_velocity_and_its_id() -> None:
    clock = Clock()
    track = clock.start(100)
    clock.follow(track, [100 + 5 * i for i in range(1, 20)])
    for _ in range(10):
        clock.frame({})
        clock.end()
    assert clock.lost == []
    assert track.place.x == pytest.approx(100 + 5 * 29, abs=15)
    assert clock.tracks.match_active([Place(245, 200, 100)]) == {0: track}


def test_a_squeezed_ending_does_not_stop_a_hidden_face() -> None:
    """Landmarks slow down in front of an occluder; the line before that says where the face goes on."""
    clock = Clock()
    track = clock.start(100)
    clock.follow(track, [100 + 5 * i for i in range(1, 20)])
    clock.follow(track, [198, 199, 199, 198])
    for _ in range(8):
        clock.frame({})
        clock.end()
    assert track.place.x == pytest.approx(100 + 5 * 31, abs=20)


def test_lost_is_told_once_then_remembered_then_forgotten() -> None:
    clock = Clock()
    track = clock.start(300)
    clock.follow(track, [300.0] * 5)
    coast = memory = 0
    while not clock.lost:
        clock.frame({})
        clock.end()
        coast += 1
    assert coast * PERIOD_NS / 1e9 == pytest.approx(SETTINGS.coast_s, abs=0.05)
    assert clock.tracks.active == []
    while clock.tracks.remembered:
        clock.frame({})
        clock.end()
        memory += 1
    assert memory * PERIOD_NS / 1e9 == pytest.approx(SETTINGS.memory_s, abs=0.05)
    assert clock.lost == ["f1"]
    assert clock.start(300).id == "f2"


def test_a_remembered_face_gets_its_id_back_near_its_place_only() -> None:
    clock = Clock()
    track = clock.start(300)
    clock.follow(track, [300.0] * 5)
    for _ in range(25):
        clock.frame({})
        clock.end()
    assert clock.lost == ["f1"]
    clock.frame({})
    assert clock.tracks.match_remembered([Place(300 + 300, 200, 100)]) == {}
    assert clock.tracks.match_remembered([Place(330, 210, 100)]) == {0: track}
    clock.tracks.reactivate(track, seen(330, 210), 0.8)
    clock.end()
    assert [t.id for t in clock.tracks.active] == ["f1"]
    assert clock.tracks.remembered == []
    for _ in range(40):
        clock.frame({})
        clock.end()
    assert clock.lost == ["f1", "f1"]  # lost again after it came back


def test_two_tracks_on_one_face_leave_it_to_the_one_that_did_not_jump() -> None:
    clock = Clock()
    left, right = clock.start(100), clock.start(300)
    for i in range(1, 10):
        clock.frame({left: seen(100 + 10 * i), right: seen(300)})
        clock.end()
    clock.frame({left: seen(290), right: seen(300)})
    clock.tracks.resolve_duplicates()
    clock.end()
    assert left.observation is None
    assert left.place.x == pytest.approx(200, abs=10)
    assert right.observation is not None


def test_camera_motion_carries_predictions() -> None:
    clock = Clock()
    track = clock.start(300)
    clock.follow(track, [300.0] * 5)
    clock.frame({}, dx=80.0)
    assert track.place.x == pytest.approx(380, abs=1)
    assert track.motion.region.x == pytest.approx(380, abs=1)
    assert track.motion.vx == pytest.approx(0, abs=1)


def test_a_face_no_detector_confirms_is_given_up() -> None:
    clock = Clock()
    track = clock.start(300)
    for _ in range(90):
        clock.frame({track: seen(300)} if track in clock.tracks.active else {})
        if track in clock.tracks.active and clock.tracks.unconfirmed(track):
            clock.tracks.miss(track)
        clock.end()
    assert clock.lost == ["f1"]


def test_detection_is_due_when_nothing_is_followed_and_when_a_face_went_missing() -> None:
    clock = Clock()
    clock.frame({})
    assert clock.tracks.detection_due(None)
    # Nothing is followed: at recheck's rate while something moves, else at the slower one.
    assert not clock.tracks.detection_due(clock.t_ns - PERIOD_NS)
    assert clock.tracks.detection_due(clock.t_ns - int(0.07e9))
    assert not clock.tracks.detection_due(clock.t_ns - int(0.07e9), closely=False)
    assert clock.tracks.detection_due(clock.t_ns - int(0.25e9), closely=False)
    assert not clock.tracks.detection_due(clock.t_ns - int(0.25e9), moved=False)
    assert clock.tracks.detection_due(clock.t_ns - int(0.5e9), moved=False)
    track = clock.tracks.start(seen(300), 0.9)
    clock.end()
    clock.frame({track: seen(300)})
    assert not clock.tracks.detection_due(clock.t_ns - PERIOD_NS)
    assert clock.tracks.detection_due(clock.t_ns - int(0.25e9))
    clock.end()
    clock.frame({})
    assert clock.tracks.detection_due(clock.t_ns - PERIOD_NS)  # seen one frame ago: at once


def looked(residual: float = 0.05, worst: float = 0.1, ratio: complex = 1) -> Alignment:
    return Alignment(ratio, complex(200, 200), residual, worst)


def moving(count: int) -> Clock:
    """Faces of sizes 50, 70, ... px, all looked at in the newest frame."""
    clock = Clock()
    clock.frame({})
    template = Template(np.random.default_rng(0).integers(0, 255, (400, 400, 3), np.uint8), Region(200, 200, 150), 1.5)
    for number in range(count):
        observation = seen(200 + 150 * number, size=50 + 20 * number)
        track = clock.tracks.start(observation, 0.9)
        track.look = Look(observation, template, clock.t_ns)
    clock.end()
    return clock


def due_after(clock: Clock, frames: int, alignment: Alignment) -> list[list[str]]:
    due = []
    for _ in range(frames):
        clock.frame({})
        for track in clock.tracks.active:
            track.alignment = alignment
        tracks = clock.tracks.looks_due()
        due.append([track.id for track in tracks])
        for track in clock.tracks.active:
            clock.tracks.move_on(track)
            if track in tracks and track.look is not None:
                track.look = replace(track.look, t_ns=clock.t_ns)
        clock.end()
    return due


def test_a_face_that_its_motion_explains_is_looked_at_five_times_a_second() -> None:
    assert due_after(moving(1), 13, looked()) == [["f1"] if i in (5, 11) else [] for i in range(13)]


@pytest.mark.parametrize(
    "alignment", [looked(residual=0.3), looked(worst=0.5), looked(ratio=1.2), looked(ratio=complex(0.97, 0.25))]
)
def test_a_face_that_changed_otherwise_is_looked_at_in_every_frame(alignment: Alignment) -> None:
    assert due_after(moving(1), 4, alignment) == [["f1"]] * 4


def test_many_faces_take_turns_the_largest_first() -> None:
    due = due_after(moving(8), 60, looked())
    assert max(map(len, due)) == 2
    assert due[5] == ["f8", "f7"]
    for number in range(1, 9):
        frames = [i for i, ids in enumerate(due) if f"f{number}" in ids]
        assert max(np.diff([-1, *frames]).tolist()) <= 12  # twice the time, and never later


def test_moved_landmarks_turn_and_grow_about_the_face() -> None:
    before = seen(300)
    ratio = 1.1 * np.exp(0.1j)
    after = before.moved(Alignment(complex(ratio), complex(310, 205), 0.0, 0.0))
    assert (after.place.x, after.place.y) == pytest.approx((310, 205))
    assert after.place.size == pytest.approx(110)
    assert (after.region.size, after.region.angle) == pytest.approx((165, 0.1))
    expected = complex(310, 205) + ratio * (before.points[0, 0] + 1j * before.points[0, 1] - complex(300, 200))
    assert after.points[0, :2].tolist() == pytest.approx([expected.real, expected.imag], abs=1e-3)
    assert after.points5[0].tolist() == pytest.approx([expected.real, expected.imag], abs=1e-3)


def test_time_must_increase() -> None:
    tracks = Tracks(SETTINGS)
    tracks.begin(100)
    with pytest.raises(ValueError, match="increase"):
        tracks.begin(100)
    tracks.clear()
    tracks.begin(50)


def test_ids_go_on_after_clear() -> None:
    clock = Clock()
    clock.start(100)
    assert [t.id for t in clock.tracks.clear()] == ["f1"]
    assert clock.start(100).id == "f2"
    assert Clock().start(100).id == "f1"  # the counter is the tracker's own


@given(vx=st.floats(-400, 400), vy=st.floats(-400, 400), seed=st.integers(0, 1000), outliers=st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_extrapolation_stands_up_to_a_squeezed_ending(vx: float, vy: float, seed: int, outliers: int) -> None:
    random = np.random.default_rng(seed)
    past: list[TrajectoryPoint] = []
    for i in range(24):
        t = i / 30
        noise: NDArray[np.float64] = random.normal(0, 0.5, 2)
        if i >= 24 - outliers:
            t = (24 - outliers) / 30
        place = Place(300 + vx * t + noise[0], 200 + vy * t + noise[1], 100)
        past.append(TrajectoryPoint(round(i / 30 * 1e9), place, Region(place.x, place.y, 150)))
    found = extrapolate(past, round(24 / 30 * 1e9))
    assert found is not None
    speed = float(np.hypot(vx, vy))
    assert found.vx == pytest.approx(vx, abs=12 + 0.25 * speed)
    assert found.place.x == pytest.approx(300 + vx * 0.8, abs=4 + 0.08 * speed)
    assert found.region.x == pytest.approx(found.place.x, abs=3)


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_faces", 0), ("max_faces", 2.5), ("min_presence", 1.5), ("coast_s", float("nan")), ("gate", "wide"),
     ("small_faces", 1), ("detect_every_s", True), ("gate_max", 0.1)],
)  # fmt: skip
def test_settings_out_of_range_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(FaceError, match=name):
        FaceSettings(**{name: value})  # type: ignore[arg-type]
