"""CLIP weights from a Hugging Face folder or hub id, a safetensors file or a PyTorch state dict.

Nothing is unpickled: a file that would have to be is refused, with the remedy.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # noqa: TID251  (the class torch raises when it refuses to unpickle)

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from train.models.clip.layouts import infer_size, to_project_names
from train.models.clip.size import ClipSize
from train.models.clip.stated import ClipWeightsError as ClipWeightsError
from train.models.clip.stated import read_stated
from train.models.clip.text import TextTransformer
from train.models.clip.vision import VisionTransformer

_NAMES = (
    "model.safetensors",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "open_clip_pytorch_model.bin",
)


@dataclass(frozen=True)
class ClipWeights:
    """A published CLIP, read.

    Attributes:
        size: Its shapes.
        vision: Tensors of :class:`VisionTransformer` by name, float32.
        text: Tensors of :class:`TextTransformer` by name, float32.
        logit_scale: The log of one over the temperature, a scalar.
        source: The file they came from.
    """

    size: ClipSize
    vision: dict[str, Tensor]
    text: dict[str, Tensor]
    logit_scale: Tensor
    source: Path


def read_clip(source: str | Path) -> ClipWeights:
    """Read a CLIP.

    Args:
        source: A Hugging Face checkpoint folder; a ``.safetensors``, ``.pt``, ``.pth`` or ``.bin`` file in
            either published layout; or a hub id such as ``openai/clip-vit-base-patch32``.

    Returns:
        Its size and weights, in float32. What a config beside the file states (heads, activation, norms, end) is
        obeyed or refused; where there is none, OpenAI's arithmetic is meant.

    Raises:
        ClipWeightsError: If the source does not exist, cannot be read safely, or is no whole CLIP.
    """
    path = find_weights(source)
    tensors, unknown = to_project_names(_read_tensors(path))
    stated = read_stated(path)
    try:
        size = infer_size(tensors, stated.heads, stated.text_heads, stated.activation)
    except (KeyError, IndexError, ValueError) as error:
        found = ", ".join([*tensors, *unknown][:3]) or "nothing"
        raise ClipWeightsError(
            f"{path} holds no CLIP in Hugging Face's or OpenAI's layout (no {error}; it starts with {found})"
        ) from error
    stated.check(size)
    with torch.device("meta"):
        wanted = {
            **{f"vision.{k}": v for k, v in VisionTransformer(size).state_dict().items()},
            **{f"text.{k}": v for k, v in TextTransformer(size).state_dict().items()},
            "logit_scale": torch.empty(()),
        }
    if "logit_scale" in tensors and tensors["logit_scale"].numel() == 1:
        tensors["logit_scale"] = tensors["logit_scale"].reshape(())
    check_match(wanted, tensors, unknown, str(path))
    full = {name: value.float().contiguous() for name, value in tensors.items()}
    return ClipWeights(
        size,
        {k.removeprefix("vision."): v for k, v in full.items() if k.startswith("vision.")},
        {k.removeprefix("text."): v for k, v in full.items() if k.startswith("text.")},
        full["logit_scale"],
        path,
    )


def load_vision(vision: VisionTransformer, weights: ClipWeights) -> None:
    """Put a read CLIP's image half into a transformer; its exchange modules keep what they have.

    Raises:
        ClipWeightsError: If names or shapes differ.
    """
    _load(vision, weights.vision, "exchange.", str(weights.source))


def load_text(text: TextTransformer, weights: ClipWeights) -> None:
    """Put a read CLIP's text half into a transformer.

    Raises:
        ClipWeightsError: If names or shapes differ.
    """
    _load(text, weights.text, None, str(weights.source))


def check_match(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], unknown: list[str], source: str) -> None:
    """Check that names and shapes agree.

    Raises:
        ClipWeightsError: Naming what is missing, what is unexpected and what has another shape.
    """
    missing = sorted(set(wanted) - set(found))
    unexpected = sorted(set(found) - set(wanted)) + unknown
    shapes = [
        f"{name} is {tuple(found[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in sorted(set(wanted) & set(found))
        if found[name].shape != wanted[name].shape
    ]
    parts = [("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)]
    told = [f"{len(names)} {what}: {_first(names)}" for what, names in parts if names]
    if told:
        raise ClipWeightsError(f"{source} does not fit: {'; '.join(told)}")


def _first(names: list[str], shown: int = 4) -> str:
    return ", ".join(names[:shown]) + (" ..." if len(names) > shown else "")


def _load(module: nn.Module, tensors: Mapping[str, Tensor], optional: str | None, source: str) -> None:
    own = {k: v for k, v in module.state_dict().items() if optional is None or not k.startswith(optional)}
    check_match(own, tensors, [], source)
    module.load_state_dict(dict(tensors), strict=False)


def find_weights(source: str | Path) -> Path:
    """Find the weights file a source names.

    Args:
        source: Folder, file or hub id.

    Returns:
        The file.

    Raises:
        ClipWeightsError: If there is none.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        for name in _NAMES:
            if (path / name).is_file():
                return path / name
        raise ClipWeightsError(f"{path} holds none of {', '.join(_NAMES)}")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise ClipWeightsError(
            f"{source} is neither a file, nor a folder, nor a hub id such as openai/clip-vit-base-patch32"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        wanted = [
            "model.safetensors",
            "config.json",
            "tokenizer*",
            "vocab.json",
            "merges.txt",
            "special_tokens_map.json",
        ]
        folder = Path(snapshot_download(str(source), allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError, OSError) as error:
        raise ClipWeightsError(
            f"{source} is no local path and could not be fetched from the hub ({type(error).__name__})",
            "download the checkpoint folder on a connected machine and give its path",
        ) from error
    return find_weights(folder)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            tensors: dict[str, Tensor] = load_file(path)
        except SafetensorError as error:
            raise ClipWeightsError(f"{path} is no readable safetensors file: {error}") from error
        return tensors
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any("/code/" in name or name.endswith("constants.pkl") for name in archive.namelist()):
                raise ClipWeightsError(
                    f"{path} is a TorchScript archive, which holds code and cannot be read as weights alone",
                    'convert it once, where you trust it: python -c "import torch;'
                    f" torch.save(torch.jit.load('{path.name}', map_location='cpu').state_dict(),"
                    f" '{path.stem}-state.pt')\" and give the new file, or give the hub id"
                    " openai/clip-vit-base-patch32",
                )
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, EOFError, OSError, KeyError, UnpicklingError) as error:
        raise ClipWeightsError(
            f"{path} cannot be read with weights_only=True: it must hold nothing but tensors ({type(error).__name__})"
        ) from error
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise ClipWeightsError(f"{path} holds no state dict of tensors")
    return dict(loaded)
