"""The mechanism of settings, on a program of its own: every type from file, environment, flag and ``--set``."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from engine.errors import DferError
from engine.settings import (
    Layer,
    SettingsError,
    add_flags,
    add_set,
    as_json,
    as_text,
    as_toml,
    entries,
    flags_of,
    load,
    read_layers,
    show,
    table,
    values_of,
)

PREFIX = "DFER_TRAIN_"


@dataclass(frozen=True)
class Optim:
    """How it learns.

    Attributes:
        name: Which.
        lr: Rate, at 100 % of the
            schedule.
        betas: Two.
        milestones: Epochs.
        groups: Rates by ``prefix``.
    """

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.98)
    milestones: tuple[int, ...] = ()
    groups: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.lr > 10:
            raise DferError(f"lr must be at most 10, not {self.lr}")


@dataclass(frozen=True)
class Model:
    """What learns.

    Attributes:
        name: Which | what.
        weights: From where.
        options: Its own.
        frozen: Held.
        labels: Names.
    """

    name: str = "tg-dfer"
    weights: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    frozen: bool = False
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Run:
    """A run.

    Attributes:
        seed: Of everything.
        note: For people.
    """

    HIDDEN: ClassVar[frozenset[str]] = frozenset({"note"})

    optim: Optim = field(default_factory=Optim)
    model: Model = field(default_factory=Model)
    seed: int = 1
    note: str = "hidden"


KEYS = {entry.key: entry for entry in entries(Run)}
WORDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=8)
NUMBERS = st.floats(-1e9, 9, allow_nan=False)
ANYTHING = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, min_size=1, max_size=3),
    max_leaves=4,
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "optim.name": st.sampled_from(["sgd", "adamw"]),
    "optim.lr": NUMBERS,
    "optim.betas": st.tuples(NUMBERS, NUMBERS),
    "optim.milestones": st.lists(st.integers(0, 99), max_size=4).map(tuple),
    "optim.groups": st.dictionaries(WORDS, NUMBERS, max_size=3),
    "model.name": WORDS,
    "model.weights": st.none() | st.just(Path("/some where/w.pt")),
    "model.options": st.dictionaries(WORDS, ANYTHING, max_size=3),
    "model.frozen": st.booleans(),
    "model.labels": st.lists(WORDS, max_size=3).map(tuple),
    "seed": st.integers(-9, 2**31),
}


def parse(*argv: str, **more: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser, Run, {"optim.lr": "--rate", "model.name": "--model"}, **more)
    add_set(parser)
    parser.add_argument("rest", nargs="*")
    return parser.parse_args(argv)


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


@given(st.fixed_dictionaries({}, optional=VALUES))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_value_is_the_same_from_every_place_and_survives_show(tmp_path: Path, chosen: dict[str, Any]) -> None:
    texts = {key: as_text(value) for key, value in chosen.items()}
    lines = [f"{key} = {as_toml(value)}\n" for key, value in chosen.items() if value is not None]
    file = write(tmp_path / "run.toml", "".join(lines))
    from_file = load(Run, file).settings
    assert {key: values_of(from_file)[key] for key in chosen} == chosen
    assert load(Run, environ={KEYS[key].env(PREFIX): text for key, text in texts.items()}, prefix=PREFIX).settings == (
        from_file
    )
    flagged = parse(*(f"{KEYS[key].flag}={text}" for key, text in texts.items()))
    assert load(Run, flags=flags_of(flagged, Run)).settings == from_file
    assert load(Run, assignments=parse(*(f"--set={k}={t}" for k, t in texts.items())).set).settings == from_file
    assert load(Run, write(tmp_path / "shown.toml", show(load(Run, file)))).settings == from_file
    tables: dict[str, Any] = {}
    for key, value in json.loads(as_json(from_file)).items():
        section, _, name = key.rpartition(".")
        (tables.setdefault(section, {}) if section else tables)[name] = value
    assert load(Run, below=[Layer(tables, "config.json")]).settings == from_file


def test_later_places_win_and_tables_are_merged_name_by_name(tmp_path: Path) -> None:
    parents = {
        "paper": write(tmp_path / "paper.toml", 'inherits = "root"\n[optim]\nlr = 2\n[optim.groups]\nenc.a = 2\nb = 2'),
        "root": write(tmp_path / "root.toml", "seed = 3\n[optim]\nlr = 3\nbetas = [3, 3]\n[optim.groups]\nc = 3"),
    }
    file = write(
        tmp_path / "run.toml", 'inherits = "paper"\n[optim]\ngroups = {b = 1}\n[model]\noptions = {x = {y = 1}}'
    )
    loaded = load(
        Run,
        file,
        {"DFER_TRAIN_MODEL_NAME": "env", "DFER_TRAIN_SEED": "4", "DFER_TRAIN_CONFIG": "x", "DFER_SOURCE_NAME": "x"},
        {"model.name": "flag", "optim.name": "adamw"},
        prefix=PREFIX,
        parents=parents,
        below=[Layer({"model": {"labels": ["a"], "options": {"w": 0}}}, "the bundle")],
        assignments=[
            "optim.groups.enc.b=0.5",
            "model.options.x.z=[1, 2]",
            "model.options.word=two words",
            "optim.name=sgd",
        ],
    )
    assert loaded.settings.optim == Optim("sgd", 2.0, (3.0, 3.0), (), {"c": 3.0, "enc.a": 2.0, "b": 1.0, "enc.b": 0.5})
    options = {"w": 0, "x": {"y": 1, "z": [1, 2]}, "word": "two words"}
    assert loaded.settings.model == Model("flag", options=options, labels=("a",))
    assert loaded.settings.seed == 4
    assert loaded.origins == {
        "optim.lr": str(parents["paper"]),
        "optim.betas": str(parents["root"]),
        "optim.groups": "flag --set optim.groups",
        "optim.name": "flag --set optim.name",
        "model.name": "flag --model.name",
        "model.options": "flag --set model.options",
        "model.labels": "the bundle",
        "seed": "variable DFER_TRAIN_SEED",
    }
    # The whole of a table, given as text, takes its place.
    assert load(Run, file, parents=parents, assignments=["optim.groups={}"]).settings.optim.groups == {}


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("optim.l=3", "unknown setting optim.l; did you mean optim.lr?"),
        ("opt.betas=3", "did you mean optim.betas?"),
        ("modle.name=x", "did you mean model.name?"),
        ("qqqqqqqqqq=x", "unknown setting qqqqqqqqqq$"),
        ("note=x", "unknown setting note$"),
        ("optim=x", "optim is a section"),
        ("optim.lr=many", "flag --set optim.lr: optim.lr must be number, not 'many'"),
        ("optim.lr=11", r"\[optim\] lr must be at most 10, not 11.0 \(from flag --set optim.lr\)"),
        ("optim.betas=[0.9]", "optim.betas must be 2 × number"),
        ("optim.betas=0.9", "optim.betas must be 2 × number"),
        ("optim.groups=0.9", "optim.groups must be table of number"),
        ("optim.groups.enc=x", "optim.groups.enc must be number, not 'x'"),
        ("optim.name=adam", "must be 'sgd' | 'adamw', not 'adam'"),
        ("model.frozen=maybe", "must be true or false"),
        ("seed=1.5", "seed must be whole number"),
        ("seed", "--set needs section.key=value, not 'seed'"),
    ],
)
def test_mistakes_are_named_with_the_nearest_name(assignment: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words.replace("|", r"\|").replace("?", r"\?")) as caught:
        load(Run, assignments=[assignment])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[optim]\nlearning = 1", r"child.toml: unknown setting optim.learning"),
        ("[sorce]", "child.toml: unknown setting sorce"),
        ("seed = true", "child.toml: seed must be whole number, not True"),
        ("[optim.lr]\na = 1", "child.toml: optim.lr must be number"),
        ("[optim]\ngroups = {a = 'x'}", "child.toml: optim.groups must be table of number"),
        ('inherits = "papr"', r"child.toml inherits from 'papr', which is unknown; did you mean 'paper'\?"),
        ('inherits = "zzzzzz"', "which is unknown; known: child, missing, paper"),
        ("inherits = 3", "child.toml inherits from 3, which is unknown"),
        ('inherits = "child"', "child.toml inherits from 'child', which inherits from it; break the circle"),
        ('inherits = "paper"', "paper.toml inherits from 'child', which inherits from it"),
        ('inherits = "missing"', "cannot read .*missing.toml: No such file"),
        ("a = = 1", "child.toml is not TOML"),
        ("a = " + "[" * 100_000, "child.toml is not TOML"),
        ("seed = 99999999999999999999999", "child.toml: seed must be whole number, not 9999"),
        ("[optim]\nlr = 99999999999999999999999", "child.toml: optim.lr must be number, not 9999"),
        ("seed = " + "9" * 5000, "child.toml is not TOML"),
        ("# " + "x" * (1 << 20), "cannot read .*child.toml: larger than 1024 KiB"),
    ],
)
def test_a_file_with_a_mistake_is_named(tmp_path: Path, text: str, words: str) -> None:
    parents = {name: tmp_path / f"{name}.toml" for name in ("child", "paper", "missing")}
    write(parents["paper"], 'inherits = "child"')
    write(parents["child"], text)
    with pytest.raises(SettingsError, match=words):
        load(Run, parents["child"], parents=parents)


def test_a_settings_file_may_be_a_pipe_but_no_endless_device(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read /dev/zero: not a regular file"):
        load(Run, Path("/dev/zero"))
    readable, writable = os.pipe()
    os.write(writable, b"seed = 7\n")
    os.close(writable)
    try:
        assert load(Run, Path(f"/dev/fd/{readable}")).settings.seed == 7
    finally:
        os.close(readable)


def test_a_mistake_in_a_parent_is_named_with_the_parent(tmp_path: Path) -> None:
    parent = write(tmp_path / "parent.toml", "sed = 1")
    child = write(tmp_path / "child.toml", 'inherits = "parent"')
    assert [layer.where for layer in read_layers(child, {"parent": parent})] == [str(parent), str(child)]
    with pytest.raises(SettingsError, match=r"parent.toml: unknown setting sed; did you mean seed\?"):
        load(Run, child, parents={"parent": parent})
    # Where nothing can be inherited, the word is a key like any other.
    with pytest.raises(SettingsError, match="child.toml: unknown setting inherits"):
        load(Run, child)


def test_variables_of_other_programs_are_passed_over() -> None:
    with pytest.raises(SettingsError, match=r"DFER_TRAIN_MODEL_NAM is unknown; did you mean DFER_TRAIN_MODEL_NAME\?"):
        load(Run, environ={"DFER_TRAIN_MODEL_NAM": "x"}, prefix=PREFIX)
    theirs = {"DFER_TRAIN_MODEL_NAM": "x", "DFER_ENGINE_SEED": "x", "DFER_SHARED_DATA": "x", "PATH": "x"}
    assert load(Run, environ=theirs).settings == Run()


def test_flags_stand_alone_are_short_or_left_out_and_their_help_has_the_meaning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert flags_of(parse("--rate", "2", "--model.frozen"), Run) == {"optim.lr": "2", "model.frozen": "true"}
    switched = parse("--model.frozen", "file", switches=True)
    assert (flags_of(switched, Run), switched.rest) == ({"model.frozen": "true"}, ["file"])
    with pytest.raises(SystemExit):
        parse("--seed", "2", sections=("optim",))
    with pytest.raises(SystemExit):
        parse("--help")
    text = " ".join(capsys.readouterr().out.split())
    for words in ("[optim]:", "--rate LR, --optim.lr LR", "Rate, at 100 % of the schedule. [number; default 0.0001]"):
        assert words in text


def test_show_and_table_have_every_setting_that_is_not_hidden() -> None:
    loaded = load(Run, assignments=["model.name=secret", "model.weights=/w"])
    shown = show(loaded, lambda key, value: "***" if key == "model.name" else value)
    assert shown.startswith('# Of everything.\nseed = 1\n\n[optim]\n# Which.\nname = "sgd"\n')
    assert '[model]\n# Which | what.\nname = "***"  # flag --set model.name\n' in shown
    assert "secret" not in as_json(loaded.settings, lambda key, value: "" if key == "model.name" else value)
    rows = table(Run).splitlines()
    assert len(rows) == 2 + len(KEYS)
    assert '| `model.name` | text | `"tg-dfer"` | Which \\| what. |' in rows
    assert "| `optim.groups` | table of number | `{}` | Rates by `prefix`. |" in rows
    assert "note" not in shown + table(Run)


def test_a_class_that_text_cannot_set_is_refused_when_it_is_read() -> None:
    @dataclass(frozen=True)
    class Undocumented:
        """No attributes."""

        x: int = 1

    @dataclass(frozen=True)
    class Odd:
        """Odd.

        Attributes:
            x: A set.
        """

        x: frozenset[int] = frozenset()

    @dataclass(frozen=True)
    class Unsettable:
        """Unsettable.

        Attributes:
            x: What no file could unset.
        """

        x: int | None = 1

    @dataclass(frozen=True)
    class Needed:
        """Needed.

        Attributes:
            x: Without a default.
        """

        x: int

    for cls, words in {
        Undocumented: "Undocumented.x is not documented",
        Odd: "no text can set",
        Unsettable: "could not be unset in a file",
        Needed: "Needed.x needs a default",
    }.items():
        with pytest.raises(SettingsError, match=words):
            entries(cls)
