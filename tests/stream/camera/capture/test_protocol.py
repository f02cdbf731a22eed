"""What a camera and its capture process write is what the other reads."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream.camera.capture.protocol import Event, Orders, Resume

ns = st.integers(0, 2**63 - 1)


@given(st.builds(Event, st.sampled_from(["opened", "lost"]), ns, st.text(), st.floats(0, 1000), start_ns=ns))
def test_an_event_survives_the_socket(event: Event) -> None:
    assert Event.decode(event.encode()) == event


@given(st.text(), st.builds(Resume, st.integers(0, 10**6), ns, st.none() | ns, st.none() | ns), st.booleans())
def test_orders_are_one_line_and_survive_the_pipe(uri: str, resume: Resume, die: bool) -> None:
    orders = Orders(uri, {"fps": None, "loop": True}, 3, 4, 5, 6, 7, die, resume)
    line = orders.encode()
    assert line.count(b"\n") == 1
    assert Orders.decode(line.decode()) == orders
