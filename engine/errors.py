"""The root of every error that is meant for a person."""

from __future__ import annotations


class DferError(Exception):
    """Something that a person can mend. Its text is ``what; remedy``.

    Args:
        what: What happened and where, with the value that was met; one line.
        remedy: What to do about it; empty where `what` leaves no doubt.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(what, remedy)
        self.what, self.remedy = what, remedy

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}" if self.remedy else self.what


_EXTRAS = {
    "onnxruntime": "onnxruntime",
    "onnx": "engine",
    "nncf": "int8",
    "scipy": "calibrate",
    "matplotlib": "calibrate",
    "pyarrow": "parquet",
    "ray": "ray",
    "tensorrt": "tensorrt",
    "cuda": "tensorrt",
    "torch": "train",
    "onnxscript": "train",
    "transformers": "train",
    "safetensors": "train",
    "sklearn": "train",
    "tensorboard": "train",
}


class MissingExtra(DferError):
    """A package is asked for that only an extra installs."""


def missing_extra(error: ImportError) -> MissingExtra | None:
    """What to tell a person about an import that failed.

    Args:
        error: As Python raised it.

    Returns:
        The package and the command that installs it, or None where no extra of ours brings it: then it is a fault.
    """
    package = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or package not in _EXTRAS:
        return None
    return MissingExtra(
        f"this needs {package}, which is not installed", f"pip install 'dferstream[{_EXTRAS[package]}]'"
    )
