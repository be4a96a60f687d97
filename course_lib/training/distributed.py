"""Several processes that train one network together, one for each GPU or CPU socket, as torchrun or `accelerate launch` starts them.

Alone, a process is the first of one, and nothing here does anything.
"""

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from course_lib.hardware import device


def join() -> None:
    """Meet the other processes, where the environment says that there are some."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if torch.cuda.is_available():
            torch.cuda.set_device(device())
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def leave() -> None:
    """Part from the other processes, in order."""
    if dist.is_initialized():
        dist.destroy_process_group()


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def wait() -> None:
    """Go on when every process has come here."""
    if dist.is_initialized():
        dist.barrier()


def shared(network: nn.Module) -> nn.Module:
    """The network, with its gradients averaged over the processes after each backward pass."""
    return DistributedDataParallel(network) if dist.is_initialized() else network


def mean(value: Tensor) -> Tensor:
    """The mean of every process's value, of the shape of the value."""
    if dist.is_initialized():
        dist.all_reduce(value)
    return value / count()
