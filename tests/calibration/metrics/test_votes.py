"""What an answer is worth where several were asked."""

from __future__ import annotations

import numpy as np
import pytest

from calibration import metrics

VOTES = np.array([[6, 2, 0], [1, 3, 0], [0, 0, 8]], np.float32)
CAST = np.array([10, 4, 8], np.float32)


def test_an_answer_gets_the_votes_for_it_out_of_all_that_were_cast() -> None:
    assert metrics.vote_share(VOTES, np.array([0, 1, 2]), CAST) == pytest.approx((0.6 + 0.75 + 1) / 3)
    assert metrics.vote_share(VOTES, np.array([1, 0, 0]), CAST) == pytest.approx((0.2 + 0.25 + 0) / 3)


def test_no_answer_has_a_larger_share_than_the_most_voted() -> None:
    best = metrics.vote_share(VOTES, VOTES.argmax(1), CAST)
    rng = np.random.default_rng(0)
    assert all(metrics.vote_share(VOTES, rng.integers(0, 3, 3), CAST) <= best for _ in range(50))


def test_every_class_counts_alike_and_minorities_too() -> None:
    # Of class 0 the shares 0.75 and 0.25 were given, of class 1 0.25 and 0.75, of class 2 one whole.
    assert metrics.vote_weighted_uar(VOTES, np.array([0, 1, 2])) == pytest.approx((0.75 + 0.75 + 1) / 3)
    assert metrics.vote_weighted_uar(VOTES, np.array([0, 0, 0])) == pytest.approx((1 + 0 + 0) / 3)


def test_without_a_minority_it_is_uar() -> None:
    truth, answers = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0])
    one_hot = np.eye(3)[truth] * 10
    assert metrics.vote_weighted_uar(one_hot, answers) == pytest.approx(metrics.uar(np.eye(3)[answers], truth))


def test_a_class_without_a_vote_is_left_out() -> None:
    assert metrics.vote_weighted_uar(VOTES[:2], np.array([0, 1])) == pytest.approx(0.75)
