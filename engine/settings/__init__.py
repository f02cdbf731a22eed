"""The settings of all four programs: frozen dataclasses, read from TOML files, environment and flags.

A section is a frozen dataclass that checks itself on construction. What a setting means is written once, in its class's
docstring under ``Attributes:``; flags with their help, ``show``, ``table`` and errors are made from there. A key is the
path of field names, ``optim.lr``; its flag is ``--optim.lr``, its variable the program's prefix and ``OPTIM_LR``.

Precedence: ``--set`` over flag over environment over file over the files it inherits from over default. What nobody
knows is refused with the nearest name that is known and the place where it stands::

    @dataclass(frozen=True)
    class OptimSettings:
        \"\"\"Optimizer.\"\"\"  # with `Attributes:`, a line for lr and one for groups

        lr: float = 1e-4
        groups: Mapping[str, float] = field(default_factory=dict)


    @dataclass(frozen=True)
    class RunSettings:
        \"\"\"A run.\"\"\"

        optim: OptimSettings = field(default_factory=OptimSettings)


    add_flags(parser, RunSettings, {"optim.lr": "--rate"})  # --rate and --optim.lr; parser.add_argument("--set", …)
    args = parser.parse_args()
    loaded = load(
        RunSettings,
        Path("mine.toml"),  # inherits = "paper"
        os.environ,
        flags_of(args, RunSettings),
        prefix="DFER_TRAIN_",
        parents={"paper": Path("recipes/paper.toml")},
        assignments=["optim.groups.encoder=1e-5"],  # from --set
    )
    loaded.settings.optim.groups["encoder"]
    print(show(loaded))  # a TOML file that gives the same settings again

Fields may be ``bool``, ``int``, ``float``, ``str``, ``Path``, a ``Literal``, one of these or None, a tuple of them, a
dataclass, or a table of names that are free: ``Mapping[str, float]``, ``Mapping[str, Any]``.
"""

from engine.settings.display import as_json, show, table
from engine.settings.entry import Entry, SettingsError, attribute_docs, entries, find, values_of
from engine.settings.flags import add_flags, add_set, flags_of
from engine.settings.kinds import as_text, as_toml
from engine.settings.layers import Layer, read_layers
from engine.settings.loading import Loaded, checked, child_environment, load

__all__ = [
    "Entry",
    "Layer",
    "Loaded",
    "SettingsError",
    "add_flags",
    "add_set",
    "as_json",
    "as_text",
    "as_toml",
    "attribute_docs",
    "checked",
    "child_environment",
    "entries",
    "find",
    "flags_of",
    "load",
    "read_layers",
    "show",
    "table",
    "values_of",
]
