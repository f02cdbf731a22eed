"""Validation cuts and folds keep groups whole."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from train.data.record import DataError
from train.data.split import cut_validation, grouped_folds


@dataclass(frozen=True)
class Row:
    label: str
    group: str


ROWS = st.lists(
    st.builds(Row, st.sampled_from(["anger", "fear", "neutral"]), st.sampled_from(["", "a", "b", "c", "d", "e"])),
    min_size=2,
    max_size=60,
).filter(lambda rows: len({r.group for r in rows}) > 1 or sum(r.group == "" for r in rows) > 1)


@given(rows=ROWS, seed=st.integers(0, 5), share=st.floats(0.05, 0.6))
def test_no_group_is_on_both_sides_and_no_clip_is_lost(rows: list[Row], seed: int, share: float) -> None:
    train, held = cut_validation(rows, share, seed)
    assert sorted(train + held) == list(range(len(rows)))
    assert train
    assert held
    assert not {rows[i].group for i in train} & {rows[i].group for i in held} - {""}
    assert (train, held) == cut_validation(rows, share, seed)


def test_the_cut_keeps_class_shares() -> None:
    rows = [Row(label, f"{label}{i // 2}") for label, n in (("anger", 200), ("fear", 40)) for i in range(n)]
    _, held = cut_validation(rows, 0.1, 1)
    assert sum(rows[i].label == "anger" for i in held) == pytest.approx(20, abs=3)
    assert sum(rows[i].label == "fear" for i in held) == pytest.approx(4, abs=2)


def test_one_subject_cannot_be_cut_and_shares_are_checked() -> None:
    with pytest.raises(DataError, match="two subjects"):
        cut_validation([Row("anger", "a")] * 5, 0.2, 1)
    with pytest.raises(DataError, match="between 0 and 1"):
        cut_validation([Row("anger", ""), Row("anger", "")], 0.0, 1)


@given(st.lists(st.sampled_from("abcdefghij"), min_size=30, max_size=90), st.integers(2, 4))
def test_folds_partition_the_clips_by_group(groups: list[str], folds: int) -> None:
    rows = [Row("anger" if i % 3 else "fear", g) for i, g in enumerate(groups)]
    if len(set(groups)) < folds:
        with pytest.raises(DataError, match="cannot be dealt"):
            grouped_folds(rows, folds, 0)
        return
    dealt = grouped_folds(rows, folds, 0)
    assert sorted(i for fold in dealt for i in fold) == list(range(len(rows)))
    homes = [{rows[i].group for i in fold} for fold in dealt]
    assert all(not a & b for k, a in enumerate(homes) for b in homes[k + 1 :])
    assert all(dealt)


def test_unknown_groups_cannot_be_dealt_into_folds() -> None:
    with pytest.raises(DataError, match="subject column"):
        grouped_folds([Row("anger", "a"), Row("anger", "")], 2, 0)
