"""Who is measured, how each is started, and who cannot be and why."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.peers.efficientnet import write_efficientnet_b0
from tests.peers.environments import OWN, TORCH, WORKERS, CannotRun, Environment, folder, make, python, size_mb

_TREE = Path(__file__).resolve().parents[2]
_OURS = Environment("dferstream", ((str(_TREE),),))
_HSEMOTION = Environment("hsemotion", (("hsemotion-onnx==0.3.1", "opencv-python>=4.14,<5"),))
_ONLINE = Environment(
    "online",
    ((TORCH, "torchvision==0.28.0", "online-emotion-detection[torch,onnx,headless]==0.3.4"),),
    after="random_weights.py",
)
_NODE = Environment(
    "node",
    npm=(
        "@vladmandic/human@3.3.6",
        "@vladmandic/face-api@1.7.15",
        "@tensorflow/tfjs@4.22.0",
        "@tensorflow/tfjs-backend-wasm@4.22.0",
    ),
)
# Its own requirements pin a torch of 2024 with CUDA, over 7,000 MB: what its default detector uses is installed.
_FER = Environment(
    "fer",
    (
        (
            TORCH,
            "torchvision==0.28.0",
            "tensorflow",
            "opencv-contrib-python<5",
            "pandas",
            "requests",
            "tqdm",
            "moviepy<2",
        ),
        ("ffmpeg-python", "matplotlib", "setuptools<81"),
        ("--no-deps", "fer==25.10.3", "facenet-pytorch==2.6.0"),
    ),
)


@dataclass(frozen=True)
class Peer:
    """One way to read expressions from a clip.

    Attributes:
        name: In the table and on the command line.
        worker: Script under ``workers/``.
        environment: What it runs in.
        model: File that its third argument names: of the shared data, or ``efficientnet``, which is made here.
        classes: Whether it gives one of our classes.
        random: Random weights of the right shape: speed only.
        note: Shown under the table.
    """

    name: str
    worker: str
    environment: Environment
    model: str = ""
    classes: bool = True
    random: bool = False
    note: str = ""


PEERS = (
    Peer(
        "mediapipe-blendshapes",
        "mediapipe_blendshapes.py",
        Environment("mediapipe", (("mediapipe==1.2.2",),)),
        "face_landmarker.task",
        classes=False,
        note="MediaPipe 1.2.2 Face Landmarker, 52 coefficients and no classes",
    ),
    Peer(
        "mediapipe-efficientnet",
        "mediapipe_efficientnet.py",
        OWN,
        "efficientnet",
        random=True,
        note="MediaPipe 0.10.14 short range, EfficientNet-B0 in ONNX Runtime, one thread; random weights",
    ),
    Peer("human", "human.mjs", _NODE, note="@vladmandic/human 3.3.6, WASM"),
    Peer(
        "hsemotion-onnx",
        "yunet_hsemotion.py",
        _HSEMOTION,
        "yunet_2026may.onnx",
        random=True,
        note="hsemotion-onnx 0.3.1 behind YuNet at 320 px; random weights",
    ),
    Peer(
        "online-emotion-detection",
        "yunet_online.py",
        _ONLINE,
        "yunet_2026may.onnx",
        random=True,
        note="online-emotion-detection 0.3.4 behind YuNet at 320 px, its own choice of runtime; random weights",
    ),
    Peer("fer", "fer_haar.py", _FER, note="fer 25.10.3, Haar; its full install is over 7,000 MB"),
    Peer("face-api", "face_api.mjs", _NODE, note="@vladmandic/face-api 1.7.15, tiny detector, WASM"),
)

NOT_HERE = {
    "deepface": "fetches its weights at the first call",
    "rmn": "fetches its weights at the first call",
    "py-feat": "fetches its weights at the first call",
    "LibreFace": "fetches its weights at the first call",
}
"""Named so that nobody looks for them in vain."""


@dataclass(frozen=True)
class Start:
    """A command that plays one clip, a JSON line a frame.

    Attributes:
        command: Program and arguments.
        environment: Variables beside the machine's own.
        install_mb: What its environment takes on disk; None where it shares ours.
    """

    command: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    install_mb: int | None = None


def installed(root: Path) -> list[str]:
    """The program of this tree, installed as a user would, into an environment of its own.

    Raises:
        CannotRun: If pip refuses.
    """
    make(_OURS, root)
    pip = [python(_OURS, root), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, "--no-deps", "--force-reinstall", str(_TREE)], check=True)
    subprocess.run([*pip, "dferstream"], check=True)  # what it needs since it was first installed
    return [str((folder(_OURS, root) / "bin" / "dfer-stream").resolve())]


def ours(program: list[str], clip: Path, frames: int, endpoint: Path) -> Start:
    """The daemon itself, unpaced, every frame."""
    command = [*program, "run", "--source", f"file://{clip.resolve()}", "--every-frame", "--camera.loop", "--json"]
    return Start([*command, "--frames", str(frames), "--bind", f"ipc://{endpoint}"])


def start(peer: Peer, clip: Path, frames: int, root: Path, data: Path | None) -> Start:
    """Make what a peer needs and say how to start it.

    Args:
        peer: Who.
        clip: What it sees.
        frames: How many, in a loop.
        root: Where environments lie.
        data: The shared data, with models that no package ships; None where there is none.

    Raises:
        CannotRun: If something is not to be had here.
    """
    model = _model(peer, root, data)
    make(peer.environment, root)
    worker = str(WORKERS / peer.worker)
    variables = {"HOME": str(_home(root)), "PYTHONPATH": "", "GLOG_minloglevel": "2", "TF_CPP_MIN_LOG_LEVEL": "3"}
    place = folder(peer.environment, root)
    size = None if peer.environment is OWN else size_mb(place)
    if peer.worker.endswith(".mjs"):
        variables |= {"PEERS_NODE": str(place.resolve()), "PEERS_PYTHON": python(peer.environment, root)}
        return Start(["node", worker, str(clip), str(frames)], variables, size)
    return Start([python(peer.environment, root), worker, str(clip), str(frames), *model], variables, size)


def _home(root: Path) -> Path:
    """A home of their own: HSEmotion's packages look for weights under ``~/.hsemotion``."""
    weights = root / "home" / ".hsemotion"
    net = weights / "enet_b0_8_best_vgaf.onnx"
    if not net.is_file():
        write_efficientnet_b0(net)
    pickled = weights / "enet_b0_8_best_vgaf.pt"
    made = folder(_ONLINE, root) / "weights.pt"
    if made.is_file() and not pickled.exists():
        os.link(made, pickled)
    return (root / "home").resolve()


def _model(peer: Peer, root: Path, data: Path | None) -> list[str]:
    if not peer.model:
        return []
    if peer.model == "efficientnet":
        path = root / "efficientnet-b0.onnx"
        if not path.is_file():
            write_efficientnet_b0(path)
        return [str(path)]
    if data is None or not (data / "models" / peer.model).is_file():
        raise CannotRun(f"{peer.model} is not here: DFER_SHARED_DATA names the folder that holds models/")
    return [str((data / "models" / peer.model).resolve())]
