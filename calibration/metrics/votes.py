"""What an answer is worth where several people were asked: no answer gets all of their votes."""

from __future__ import annotations

import numpy as np

from calibration.apply import Floats
from calibration.metrics.recognition import Labels


def vote_share(votes: Floats, answers: Labels, cast: Floats) -> float:
    """Mean share of a face's votes that went to its answer, 0 to 1.

    Args:
        votes: (n, C) counts.
        answers: (n,) class numbers; those of `votes` themselves, ``votes.argmax(1)``, reach the most that can be.
        cast: (n,) all votes on a face, above 0; those for what is no class too.
    """
    return float((np.asarray(votes, np.float64)[np.arange(len(answers)), answers] / cast).mean())


def vote_weighted_uar(votes: Floats, answers: Labels) -> float:
    """Mean over classes of the share of a class's votes that lie on faces with that answer, 0 to 1.

    Unlike UAR it counts every vote, those of the minority too; classes without a vote are left out.

    Args:
        votes: (n, C) counts or shares, each row with some.
        answers: (n,) class numbers.
    """
    shares = np.asarray(votes, np.float64) / np.sum(votes, 1, keepdims=True)
    named = np.eye(shares.shape[1])[answers]
    all_of_class = shares.sum(0)
    there = all_of_class > 0
    return float(((shares * named).sum(0)[there] / all_of_class[there]).mean())
