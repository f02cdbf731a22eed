"""The encoder's way from nothing to what is shipped: which runs, from where, taught by whom.

Each run is one of :mod:`train.default_model.fit`; what each brought stands in the notes of README.md.
"""

from __future__ import annotations

from dataclasses import dataclass

_SHALLOW = ("--depths", "1", "2", "3", "1")
_DEEPEN = ("--rate", "0.06", "--settle", "0.5", "--slips", "1", "--sizes", "48", "56", "56", "56")
"""How the second run differs from the first: half the peak rate, and calm for half of its time."""
_TEACHER = (
    "--encoder", "separable", "--optimizer", "adamw", "--rate", "6e-4", "--fresh", "2.5", "--clip", "5", "--decay",
    "0.02", "--ema", "0.998", "--settle", "0.4", "--slips", "1", "--sizes", "48", "48", "56", "56",
)  # fmt: skip
"""The teacher's run: short, for it knows faces; its new layers learn faster than those it brings."""
_SETTLE = (
    "--encoder", "separable", "--optimizer", "adamw", "--rate", "3e-4", "--clip", "5", "--decay", "0.02", "--ema",
    "0.998", "--settle", "0.6", "--slips", "1", "--sizes", "56",
)  # fmt: skip
"""The teacher's second run, calm for most of its time."""
_DISTIL = (
    "--rate", "0.05", "--settle", "0.35", "--slips", "1", "--sizes", "56", "--teacher", "0.75", "--mixup", "1",
    "--mixup-share", "0.35", "--swap-share", "0.25",
)  # fmt: skip
"""The taught run: three quarters of its targets are what the blend and the teacher say of the very crop, and three
crops in five are of a face that is in no table, so that the answers are news to the one who learns."""
_PATIENCE = (*_DISTIL, "--teacher", "0.8", "--replay", "4", "--dropout", "0", "--drop-path", "0")
"""The patient run: the taught one is a third teacher, an answer serves four times, and nothing is dropped, for answers
on faces that are in no table leave little to learn by heart."""
_POLISH = (*_PATIENCE, "--rate", "0.03", "--validation", "0.01")
"""Once more from where that ended, gently enough not to lose it; of the stills, one in a hundred is left out."""
_FINISH = (*_POLISH, "--teacher", "0.9", "--replay", "5", "--settle", "0.5")
"""The last run: votes are a tenth of the targets, and half of the time is calm."""


@dataclass(frozen=True)
class Lesson:
    """One run of the encoder, or of the other one that teaches it.

    Attributes:
        stage: The stage of ``python -m train.default_model`` that it belongs to.
        folder: Where in the run's folder it is kept.
        epochs: Passes over the stills, unless a time is asked for.
        settings: Options of :mod:`train.default_model.fit`.
        start: Folder of the run that it goes on from; empty for none.
        teachers: Folders of the runs that are asked about every crop.
    """

    stage: str
    folder: str
    epochs: int
    settings: tuple[str, ...]
    start: str = ""
    teachers: tuple[str, ...] = ()


FIRST, SECOND, BLEND, TEACHER = "shallow", "deep", "blend", "teacher"
"""Folders of the first run, of the deeper one, of weights between the two, and of the network that knew faces."""
PRETRAINED = "young"
"""Folder of the run that starts from a network that knows faces."""
LESSONS = (
    Lesson("encoder", FIRST, 80, _SHALLOW),
    Lesson("deepen", SECOND, 41, _DEEPEN, FIRST),
    Lesson("teacher", PRETRAINED, 16, _TEACHER),
    Lesson("teacher", TEACHER, 7, _SETTLE, PRETRAINED),
    Lesson("distil", "taught", 37, _DISTIL, BLEND, (BLEND, TEACHER)),
    Lesson("patience", "patient", 54, _PATIENCE, "taught", ("taught", TEACHER, BLEND)),
    Lesson("polish", "polished", 47, _POLISH, "patient", ("patient", TEACHER, BLEND)),
    Lesson("finish", "finished", 53, _FINISH, "polished", ("polished", TEACHER, BLEND, SECOND)),
)
ENDS = {"patient": 0.2, "polished": 0.4, "finished": 0.4}
"""Whose weights are averaged at last, and their shares: as in the runs before, the way between the ends of runs that
went on from one another answers a little better than any of them."""
STAGES = (
    "encoder", "deepen", "blend", "teacher", "distil", "patience", "polish", "finish", "average", "head", "bundle",
    "calibrate",
)  # fmt: skip
