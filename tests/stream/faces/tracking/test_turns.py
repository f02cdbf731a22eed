from __future__ import annotations

from stream.faces.tracking.turns import Search


def fruitless(search: Search, moved: float, runs: int) -> list[bool]:
    """Whether each of some runs in an empty picture came of a close watch."""
    close = []
    for _ in range(runs):
        close.append(search.close(moved))
        search.ran(moved, found=False)
    return close


def test_what_goes_on_moving_and_is_no_face_is_watched_less_closely() -> None:
    search = Search()
    close = fruitless(search, 0.1, 20)
    assert close == [True] * 8 + [False] * 12


def test_more_than_usual_moves_or_something_moves_anew() -> None:
    search = Search()
    fruitless(search, 0.1, 20)
    assert not search.close(0.15)
    assert search.close(0.3)
    fruitless(search, 0.1, 20)
    assert search.close(0.0)  # it stands still: what moves next is new
    assert search.close(0.1)


def test_a_face_that_was_there_a_moment_ago_is_looked_for() -> None:
    search = Search()
    fruitless(search, 0.1, 20)
    search.ran(0.1, found=True)
    assert search.close(0.1)
