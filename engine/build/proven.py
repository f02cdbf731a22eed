"""Whether a bundle's small encoder may run in bf16 here: by the gate, once for each model, CPU and runtime."""

from __future__ import annotations

import contextlib
import hashlib
from typing import Literal

import openvino as ov

from engine.backends.choice import construct
from engine.backends.compiled import cache_folder
from engine.backends.cpu_precision import GAIN, is_small, measure
from engine.backends.protocol import BackendError
from engine.backends.runtime import cpu_name
from engine.build.gate import gate
from engine.bundle.bundle import Bundle
from engine.bundle.golden import ParityError
from engine.errors import DferError
from engine.files import replace_file

_VERDICTS = ("bf16", "fp32")


def proven_precision(model: Bundle) -> Literal["bf16"] | None:
    """The format that a bundle's small encoder is to run in on this CPU.

    bf16 where the CPU is faster in it and it reproduces the golden vectors (a unit then takes 0.8 CPU ms, not 1.7,
    EPYC, 2026-11-28), else FP32. Found out once, in 0.2 s, and kept beside the compiled graphs.

    Returns:
        ``bf16``; None, the back end's own choice, for a large encoder, where bf16 was refused and where no verdict can
        be kept.
    """
    folder = cache_folder()
    if folder is None or not is_small(model.encoder.with_name(model.encoder.name + ".data")):
        return None
    made_of = "\n".join((model.sha256, ov.get_version(), cpu_name()))
    path = folder / f"{hashlib.sha256(made_of.encode()).hexdigest()[:40]}.precision"
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if (kept := path.read_text("ascii")) in _VERDICTS:
            return "bf16" if kept == "bf16" else None
    verdict = "bf16" if _holds(model) else "fp32"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        replace_file(path, lambda temporary: temporary.write_text(verdict, "ascii"), flush=False, mode=0o600)
    except (OSError, DferError):
        return None
    return "bf16" if verdict == "bf16" else None


def _holds(model: Bundle) -> bool:
    times = measure(1)
    if not times.get("bf16", times["fp32"]) < GAIN * times["fp32"]:
        return False
    try:
        backend = construct("openvino", model, None, "bf16")
    except BackendError:
        return False
    try:
        gate(backend, model.golden())
    except (ParityError, BackendError):
        return False
    finally:
        backend.close()
    return True
