from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from stream.apps.view.feed import Item
from stream.apps.view.mailbox import MOST, Hub, Mailbox


def taken(box: Mailbox, count: int) -> list[str | bytes]:
    async def take() -> list[str | bytes]:
        return [(await asyncio.wait_for(box.take(), 5)).data for _ in range(count)]

    return asyncio.run(take())


def test_a_newer_state_replaces_an_older_one_and_events_are_kept() -> None:
    box = Mailbox()
    for number in range(5):
        box.put(Item(("faces", "cam0"), f"faces {number}"))
        box.put(Item(("event", "cam0", str(number)), f"event {number}"))
    assert box.skipped == 4
    assert set(taken(box, 6)) == {"faces 4", *(f"event {n}" for n in range(5))}


def test_a_flood_is_bounded_and_the_newest_wins() -> None:
    box = Mailbox()
    for number in range(3 * MOST):
        box.put(Item(("event", "cam0", str(number)), str(number)))
    assert taken(box, MOST) == [str(n) for n in range(2 * MOST, 3 * MOST)]
    assert box.skipped == 2 * MOST


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 99)), min_size=1, max_size=60))
def test_what_is_taken_is_the_newest_of_each_key_in_order_of_arrival(puts: list[tuple[int, int]]) -> None:
    box, wanted = Mailbox(), dict[int, int]()
    for key, value in puts:
        box.put(Item((str(key),), f"{key} {value}"))
        wanted.pop(key, None)
        wanted[key] = value
    assert taken(box, len(wanted)) == [f"{key} {value}" for key, value in wanted.items()]
    assert box.skipped == len(puts) - len(wanted)


def test_who_waits_is_woken() -> None:
    async def wait() -> str | bytes:
        box = Mailbox()
        waiting = asyncio.create_task(box.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        box.put(Item(("a",), "x"))
        return (await asyncio.wait_for(waiting, 5)).data

    assert asyncio.run(wait()) == "x"


def test_a_late_viewer_is_told_what_lasts_and_one_that_left_gets_nothing() -> None:
    hub = Hub()
    hub.take(Item(("status", "cam0"), "old", lasting=True))
    hub.take(Item(("status", "cam0"), "status", lasting=True))
    hub.take(Item(("picture", "cam0"), b"picture"))
    box, gone = hub.join(Item(("hello",), "hello")), hub.join(Item(("hello",), "hello"))
    hub.leave(gone)
    hub.take(Item(("event", "cam0", "1"), "event"))
    assert taken(box, 3) == ["hello", "status", "event"]
    assert taken(gone, 2) == ["hello", "status"]
