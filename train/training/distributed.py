"""One process or many: started by `torchrun` or here, and the few collective steps that training needs."""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.distributed.rendezvous import rendezvous
from torch.multiprocessing.spawn import ProcessException, spawn
from torch.nn.parallel import DistributedDataParallel

from engine.errors import DferError
from engine.settings import SettingsError

_T = TypeVar("_T")
_CPU_SETTINGS = {
    # Without these glibc returns every large activation to the kernel and faults it in again.
    "MALLOC_MMAP_THRESHOLD_": "4000000000", "MALLOC_TRIM_THRESHOLD_": "8000000000", "GLOO_SOCKET_IFNAME": "lo",
}  # fmt: skip


class ProcessError(DferError):
    """The processes of a run cannot meet, or no longer do."""


@dataclass(frozen=True)
class Processes:
    """This process among all.

    Attributes:
        rank: From 0.
        world: Number of processes.
        device: Where this one computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def wrap(self, module: nn.Module, partial: bool = True) -> nn.Module:
        """The module, its gradients averaged over processes where there are several.

        Args:
            module: The module.
            partial: Whether a step may leave parameters without a gradient; looking for them takes time.
        """
        if self.world == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=ids, find_unused_parameters=partial)

    def total(self, values: Tensor) -> Tensor:
        """Sum over all processes, the same on each."""
        if self.world > 1:
            values = values.to(self.device)
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return bool(self.total(torch.tensor(float(flag))) > 0) if self.world > 1 else flag

    def alike(self, text: str) -> bool:
        """Whether all processes have the same text."""
        if self.world == 1:
            return True
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
        most = torch.tensor([number, -number], dtype=torch.int64, device=self.device)
        dist.all_reduce(most, dist.ReduceOp.MAX)
        return bool(most[0] == -most[1])

    @torch.no_grad()
    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Give every process the first one's values, in place."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.world > 1:
            dist.barrier()

    def precision(self, wanted: str) -> str:
        """``auto`` decided, for all processes alike: each one's own trial could come out differently."""
        if wanted != "auto":
            return wanted
        faster = self.first and (self.device.type == "cuda" or fast_bfloat16())
        return "bf16" if self.any(faster) else "fp32"


def fast_bfloat16() -> bool:
    """Whether a 3x3 convolution of a small encoder is faster in bfloat16 than in float32 here: tried.

    Where the processor multiplies bfloat16 itself, a step takes 0.6 of the time; elsewhere it takes longer.
    """
    layer = nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    crops = torch.rand(32, 64, 14, 14).contiguous(memory_format=torch.channels_last)
    taken: dict[bool, float] = {}
    for half in (False, True):
        for attempt in range(6):
            began = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                layer(crops).float().sum().backward()
            if attempt:
                taken[half] = min(taken.get(half, math.inf), time.perf_counter() - began)
    return taken[True] < 0.8 * taken[False]


def check_compiler(device: torch.device) -> None:
    """Refuse to compile a step where that takes a C++ compiler and there is none.

    Raises:
        SettingsError: If there is none.
    """
    if device.type == "cpu" and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise SettingsError("loop.compiled needs a C++ compiler", "on Debian: apt install g++")


def choose_device(name: str, local: int = 0) -> torch.device:
    """The device of a name.

    Args:
        name: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:1``.
        local: Which GPU plain ``cuda`` means.

    Raises:
        SettingsError: If CUDA is asked for and not there, or the name is none of these.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu":
        return torch.device("cpu")
    if not name.startswith("cuda"):
        raise SettingsError(f"--device must be auto, cpu, cuda or cuda:N, not {name!r}")
    if not torch.cuda.is_available():
        raise SettingsError("--device cuda: this PyTorch sees no NVIDIA GPU", "use --device cpu")
    return torch.device("cuda", local if name == "cuda" else int(name.partition(":")[2]))


@contextmanager
def processes(device: str = "auto") -> Iterator[Processes]:
    """Join the processes that `torchrun` started, or be the only one.

    Args:
        device: As in :func:`choose_device`.

    Raises:
        SettingsError: If the device is not there.
        ProcessError: If the others cannot be met, or one of them ends during the run.
    """
    world, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    try:
        with _joined(Processes(rank, world, chosen)) as mine:
            yield mine
    except RuntimeError as error:
        if world == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise ProcessError(
            f"process {rank} of {world} lost the others ({str(error).splitlines()[0][:200]})",
            "the same command with --resume goes on from the last checkpoint; torchrun --max-restarts=N does so itself",
        ) from error


def _meeting_place(mine: Processes) -> Store | None:
    """Where the processes of `torchrun` tell each other their addresses; None: where PyTorch would have looked.

    Its agent keeps one store through all restarts (2.13), and in it a restarted process finds the addresses of the
    dead: it waits for them for half an hour. On one machine each start has a part of the store of its own; several
    machines do not count their restarts alike.

    Raises:
        ProcessError: If this is a restart of several machines that share such a store.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    store: Store = next(rendezvous("env://", mine.rank, mine.world))[0]
    if os.environ.get("GROUP_WORLD_SIZE") == "1":
        return PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT')}", store)
    if store.add(f"started/{mine.rank}", 1) > 1:
        raise ProcessError(
            "torchrun restarted this process with the addresses of those that ended",
            "set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 for torchrun on every machine",
        )
    return store


@contextmanager
def _joined(mine: Processes, meeting: str | None = None) -> Iterator[Processes]:
    if mine.device.type == "cuda":
        torch.cuda.set_device(mine.device)
    if mine.world == 1:
        yield mine
        return
    store = None if meeting else _meeting_place(mine)
    cuda = mine.device.type == "cuda"
    dist.init_process_group(
        "nccl" if cuda else "gloo", meeting, rank=mine.rank, world_size=mine.world, store=store,
        device_id=mine.device if cuda else None,
    )  # fmt: skip
    try:
        yield mine
    finally:
        dist.destroy_process_group()


def launch(work: Callable[[Processes, Any], _T], task: Any, world: int, device: torch.device) -> _T:
    """Run a function in this process, or in so many processes that join each other; their cores are shared out.

    On small kernels two processes of one thread are 1.5 times as fast as one process of two threads.

    Args:
        work: A function of a module, given its process and `task`.
        task: What spawning can send: dataclasses of plain values.
        world: Number of processes.
        device: Where they compute; process r of several on GPUs takes GPU r.

    Returns:
        What `work` returned in the first process.

    Raises:
        DferError: That of the process that failed, which ends them all.
    """
    if world == 1:
        return _work(0, work, task, 1, device, None)
    for name, value in _CPU_SETTINGS.items():
        os.environ.setdefault(name, value)
    said = multiprocessing.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="dfer-train-") as folder:
        meeting = (Path(folder) / "meeting").as_uri()
        try:
            spawn(_child, (work, task, world, device, meeting, said), world)  # type: ignore[no-untyped-call]
        except ProcessException as error:
            if said.empty():
                raise DferError(f"a process of the run failed: {error}") from error
    result: _T | DferError = said.get()
    if isinstance(result, DferError):
        raise result
    return result


def _child(rank: int, work: Callable[[Processes, Any], Any], *rest: Any) -> None:
    *given, said = rest
    try:
        result = _work(rank, work, *given)
    except DferError as error:
        said.put(DferError(error.what, error.remedy))
        raise
    if rank == 0:
        said.put(result)


def _work(
    rank: int, work: Callable[[Processes, Any], _T], task: Any, world: int, device: torch.device, meeting: str | None
) -> _T:
    if device.type == "cpu":
        torch.set_num_threads(max((os.cpu_count() or 1) // world, 1))
    own = torch.device("cuda", rank) if device.type == "cuda" and world > 1 else device
    with _joined(Processes(rank, world, own), meeting) as mine:
        return work(mine, task)
