from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.faces.primary import primary_face

BOXES = st.lists(st.tuples(st.floats(-50, 640), st.floats(-50, 480), st.floats(1, 300), st.floats(1, 300)), max_size=8)


@given(BOXES)
def test_without_a_region_it_is_the_largest_face_in_the_frame(boxes: list[tuple[float, float, float, float]]) -> None:
    named = [(f"f{i}", box) for i, box in enumerate(boxes)]
    inside = [(name, box) for name, box in named if 0 <= box[0] + box[2] / 2 <= 640 and 0 <= box[1] + box[3] / 2 <= 480]
    found = primary_face(named, (0, 0, 1, 1), 640, 480)
    if not inside:
        assert found is None
    else:
        assert found is not None
        largest = max(box[2] * box[3] for _, box in inside)
        assert dict(inside)[found][2] * dict(inside)[found][3] == largest


def test_a_larger_face_outside_the_region_is_not_the_driver() -> None:
    passenger, driver = ("p", (400.0, 100.0, 200.0, 200.0)), ("d", (60.0, 120.0, 90.0, 90.0))
    assert primary_face([passenger, driver], (0, 0, 0.5, 1), 640, 480) == "d"
    assert primary_face([passenger], (0, 0, 0.5, 1), 640, 480) is None
