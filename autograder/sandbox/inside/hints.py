"""What grading lacks and a notebook may ask for: a GPU, other processes, a network, a place to write, a compiler. Each gets a sentence.

The same code runs where students check their notebooks, so that both say the same.
"""

import errno
import traceback
from collections.abc import Callable
from typing import Any

import torch

GPU = 'grading has no GPU: write device = "cuda" if torch.cuda.is_available() else "cpu", and .to(device) instead of .cuda()'
PROCESSES = (
    "grading runs your code in one process and can start no other: no subprocess, no multiprocessing, and "
    "DataLoader(..., num_workers=0); training belongs into the cell that the notebook has for it"
)
NETWORK = "grading has no network: nothing can be downloaded there, so hand in what you need or make it in the notebook"
WRITING = "in grading only the folder /tmp can be written to, and it is empty for each submission"
SPACE = "in grading a submission may write 128 MB into /tmp, and 64 MB into one file"

STARTERS = ("subprocess.py", "/multiprocessing/", "/joblib/", "concurrent/futures/process.py")
CALLERS = ("/socket.py", "/urllib/", "/http/client.py", "/requests/", "/urllib3/", "pooch/")


def hint(error: BaseException) -> str:
    """What to do about an error whose cause is that grading lacks something, or ""."""
    text = str(error)
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    lines = [frame.line or "" for frame in traceback.extract_tb(error.__traceback__)[-1:]]

    def through(places: tuple[str, ...]) -> bool:
        return any(place in file for file in files for place in places)

    if any(
        sign in text for sign in ("not compiled with CUDA", "NVIDIA", "No CUDA GPUs", "deserialize object on a CUDA")
    ):
        return GPU
    number = error.errno if isinstance(error, OSError) else None
    started = through(STARTERS) or any("os.fork" in line or "os.posix_spawn" in line for line in lines)
    if (isinstance(error, OSError) and started) or "DataLoader worker" in text:
        return PROCESSES
    if (
        isinstance(error, OSError)
        and number != errno.EMFILE
        and (through(CALLERS) or number in (errno.ENETUNREACH, errno.EHOSTUNREACH))
    ):
        return NETWORK
    return {errno.EROFS: WRITING, errno.ENOSPC: SPACE, errno.EFBIG: SPACE}.get(number or 0, "")


def compile_nothing(model: Callable[..., Any] | None = None, **_: Any) -> Any:
    """`torch.compile` where compiling takes longer than what is compiled, or has no compiler: the function as it is."""
    return (lambda function: function) if model is None else model


def without_compiler() -> None:
    """Let `torch.compile`, and a module's own `compile`, do nothing."""
    torch.compile = compile_nothing
    torch.nn.Module.compile = lambda self, *args, **kwargs: None  # type: ignore[method-assign]
