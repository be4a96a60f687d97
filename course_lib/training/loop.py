"""Training as a generator: `for state in fit(...)` takes one optimiser step a turn, and the caller decides what to do with it.

All randomness of step k comes from (seed, k) alone, so a run that is killed and resumed draws what the unbroken run draws.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.checkpoint import checkpoint

from course_lib.hardware import bf16_is_fast
from course_lib.training import distributed
from course_lib.training.state import Batch, Loss, Opponent, TrainState


def fit(
    network: nn.Module,
    loss: Loss,
    data: Batch,
    steps: int,
    batch_size: int = 128,
    learning_rate: float = 1e-3,
    warmup: int = 100,
    ema_decay: float = 0.999,
    clip: float = 1.0,
    weight_decay: float = 0.01,
    betas: tuple[float, float] = (0.9, 0.999),
    opponent: Opponent | None = None,
    bf16: bool | None = None,
    channels_last: bool = True,
    compiled: bool = False,
    checkpointing: bool = False,
    parts: int | None = None,
    seed: int = 0,
    resume: Path | None = None,
) -> Iterator[TrainState]:
    """Train with AdamW for `steps` steps; the learning rate rises over `warmup` steps and falls as a cosine to 0.

    `data` is a tuple of tensors with one row a sample; `loss` gets (network, a batch of rows, a generator) and returns the mean over
    the rows. Gradients are clipped to the norm `clip`. With `resume`, training goes on after the step saved there; where that
    was the last, its state is yielded once, so that the caller can finish.

    An `opponent` takes a step before each of the network's, with the same batch and rules and a learning rate of its own; its state
    is saved with the rest. `betas` are those of both optimisers.

    Four keywords trade speed and memory: `bf16` autocast (None: where the hardware is fast at it), `channels_last` memory order of
    the convolutions, `compiled` (torch.compile, which needs a C++ compiler), and `checkpointing`, which keeps only what enters the
    elements of the network's ModuleLists and computes the rest again in the backward pass.

    A step's batch is cut into `parts` (None: one for each process), each with a generator of its own, and their gradients are
    averaged. One process takes the parts in turn, which saves memory; several (`distributed.join`) share them, with the same
    result up to rounding.
    Raises ValueError, before the first step, where the rows differ in number, a batch does not fit data or parts, a keyword is out of
    its range, several processes are to train an opponent, or the saved state is of another network; where loss or gradient is not
    finite, before the weights take that step; and where the first gradient of a compiled network is not that of the plain one.
    """
    parts = distributed.count() if parts is None else parts
    rows = check_rows(data, batch_size, parts)
    check_keywords(steps, learning_rate, warmup, ema_decay, clip, weight_decay)
    if opponent is not None and distributed.count() > 1:
        raise ValueError(
            "two networks in turns are trained by one process: leave out torchrun, and take --parts to save memory"
        )
    device = next(network.parameters()).device
    bf16 = bf16_is_fast(device) if bf16 is None else bf16
    second = None if opponent is None else opponent.network
    for module in (network, second):
        if channels_last and module is not None:
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=learning_rate, betas=betas, weight_decay=weight_decay, fused=True
    )
    state = TrainState(0, float("nan"), float("nan"), network, averaged(network, ema_decay), optimizer, second)
    if opponent is not None:
        state.opponent_optimizer = opponent.adam(betas)
    if resume is not None:
        state.restore(resume)

    def backward(shared: nn.Module, loss: Loss, k: int, kind: int = 0) -> Tensor:
        """Leave the gradient of batch k in the network, and return its loss: both are means over all parts and processes."""
        chosen, mine = batch_rows(rows, batch_size, k, seed), range(distributed.rank(), parts, distributed.count())
        value = torch.zeros((), device=device)
        for number in mine:
            batch = tuple(tensor[chosen.chunk(parts)[number]].to(device) for tensor in data)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                share = loss(shared, batch, generator_for(seed, k, device, number + kind * parts)) / len(mine)
            share.backward()
            value = value + share.detach()
        return distributed.mean(value)

    def answer(opponent: Opponent, optimizer: torch.optim.Optimizer, k: int) -> None:
        """The opponent's step k, with noise of its own; outside it, its weights are held."""
        opponent.network.requires_grad_(True)
        for group in optimizer.param_groups:
            group["lr"] = opponent.learning_rate * rate(k, steps, warmup)
        optimizer.zero_grad(set_to_none=True)
        value = backward(opponent.network, opponent.loss, k, kind=1)
        norm = nn.utils.clip_grad_norm_(opponent.network.parameters(), clip)
        check_finite(k, "opponent's ", value.item(), norm.item(), opponent.learning_rate, clip)
        optimizer.step()
        opponent.network.requires_grad_(False)

    def plain_gradient(k: int) -> Tensor:
        """The gradient of batch k before the network is compiled, which leaves no trace in it."""
        buffers = [buffer.clone() for buffer in network.buffers()]
        optimizer.zero_grad(set_to_none=True)
        backward(network, loss, k)
        with torch.no_grad():
            for buffer, old in zip(network.buffers(), buffers, strict=True):
                buffer.copy_(old)
        return gradient_of(network)

    def training() -> Iterator[TrainState]:
        if state.step >= steps:
            yield state
        network.train()
        if second is not None:
            second.train()
        uncompiled, plain = compiled, None
        with recomputed(network) if checkpointing else nullcontext():
            shared = distributed.shared(network)
            while state.step < steps:
                k = state.step
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate * rate(k, steps, warmup)
                if opponent is not None and state.opponent_optimizer is not None:
                    answer(opponent, state.opponent_optimizer, k)
                if uncompiled:
                    plain = plain_gradient(k) if distributed.count() == 1 else None
                    network.compile()
                    uncompiled = False
                optimizer.zero_grad(set_to_none=True)
                value = backward(shared, loss, k)
                if plain is not None:
                    check_compiled(plain, gradient_of(network))
                    plain = None
                norm = nn.utils.clip_grad_norm_(network.parameters(), clip)
                state.loss, state.gradient_norm = value.item(), norm.item()
                check_finite(k, "", state.loss, state.gradient_norm, learning_rate, clip)
                optimizer.step()
                state.ema.update_parameters(network)
                state.step = k + 1
                yield state

    return training()


def check_keywords(
    steps: int, learning_rate: float, warmup: int, ema_decay: float, clip: float, weight_decay: float
) -> None:
    """Raise a ValueError that names the first keyword of `fit` that is out of its range; one that is no number is in none."""
    for name, value, allowed, text in (
        ("steps", steps, steps >= 1, "at least 1"),
        ("learning_rate", learning_rate, 0 < learning_rate < math.inf, "finite and above 0"),
        ("warmup", warmup, warmup >= 0, "at least 0"),
        ("ema_decay", ema_decay, 0 <= ema_decay <= 1, "in [0, 1]"),
        ("clip", clip, clip > 0, "above 0 (math.inf clips nothing)"),
        ("weight_decay", weight_decay, 0 <= weight_decay < math.inf, "finite and at least 0"),
    ):
        if not allowed:
            raise ValueError(f"{name} must be {text}; got {value}")


def check_finite(step: int, whose: str, loss: float, gradient_norm: float, learning_rate: float, clip: float) -> None:
    """Raise a ValueError where a step's loss or gradient is not finite: the weights would be lost, and the average with them."""
    for what, value in ((f"{whose}loss", loss), (f"{whose}gradient's norm", gradient_norm)):
        if not math.isfinite(value):
            raise ValueError(
                f"the {what} became {value} at step {step}: lower learning_rate (now {learning_rate}) or clip (now {clip})"
            )


def gradient_of(network: nn.Module) -> Tensor:
    """The gradient that the network holds, of all its P weights in a row, `(P,)`; 0 for a parameter that has none."""
    return torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in network.parameters()])


def check_compiled(plain: Tensor, found: Tensor) -> None:
    """Raise a ValueError where the gradient of a compiled network, `(P,)`, is not that of the plain one, up to rounding.

    Compilers err, too: torch's has dropped a part of the gradient, and the loss still fell.
    """
    apart, length = float((found - plain).norm()), float(plain.norm())
    if math.isfinite(length) and not apart <= 0.1 * length:  # else check_finite says what is wrong
        raise ValueError(
            f"the compiled network's gradient differs by {apart:.3g} from the plain one's, whose length is {length:.3g}: "
            "train it without compiling"
        )


@contextmanager
def recomputed(network: nn.Module) -> Iterator[None]:
    """Inside, the elements of the network's ModuleLists keep only their inputs for the backward pass (gradient checkpointing)."""
    blocks = [block for stack in network.modules() if isinstance(stack, nn.ModuleList) for block in stack]
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for block in blocks:
            del block.forward  # what the class defines is seen again


def check_rows(data: Batch, batch_size: int, parts: int) -> int:
    """The number of samples; raises ValueError where the tensors disagree on it, or a batch does not fit data or parts."""
    counts = {len(tensor) for tensor in data}
    if len(counts) != 1:
        raise ValueError(f"data must be tensors with one row a sample; they have {sorted(counts)} rows")
    rows = counts.pop()
    if not 1 <= batch_size <= rows:
        raise ValueError(f"batch_size must lie in [1, {rows}], the number of samples; got {batch_size}")
    if parts < 1 or parts % distributed.count() or batch_size % parts:
        raise ValueError(
            f"parts must be a multiple of the number of processes ({distributed.count()}) and divide batch_size ({batch_size}); got {parts}"
        )
    return rows


def batch_rows(rows: int, batch_size: int, step: int, seed: int) -> Tensor:
    """The row numbers `(batch_size,)` of batch `step`: a fresh shuffle each epoch; the rows that do not fill a batch sit this epoch out."""
    epoch, position = divmod(step, rows // batch_size)
    return epoch_order(rows, epoch, seed)[position * batch_size : (position + 1) * batch_size]


@lru_cache(maxsize=1)  # every step of an epoch asks for the same
def epoch_order(rows: int, epoch: int, seed: int) -> Tensor:
    """All row numbers in the order of one epoch, `(rows,)`."""
    return torch.randperm(rows, generator=generator_for(seed, -1 - epoch, torch.device("cpu")))


def generator_for(seed: int, step: int, device: torch.device, part: int = 0) -> torch.Generator:
    """The generator of one part of one step (or, with a negative number, of one epoch's shuffle)."""
    hashed = hashlib.sha256((f"{seed} {step} {part}" if part else f"{seed} {step}").encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(hashed[:7], "big"))


def rate(step: int, steps: int, warmup: int) -> float:
    """The learning rate of a step as a share of the highest: a linear rise, then half a cosine down to 0."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    return (1 + torch.cos(torch.tensor(torch.pi * done)).item()) / 2


def averaged(network: nn.Module, decay: float) -> AveragedModel:
    """The exponential moving average of a network's weights, with a short memory at first: min(decay, (1 + n) / (10 + n))."""

    def update(averages: Sequence[Tensor], weights: Sequence[Tensor], _: Tensor | int) -> None:
        n = int(
            average_of.n_averaged
        )  # this lies on the CPU; the argument, on the network's device, would have to be waited for
        for average, weight in zip(averages, weights, strict=True):
            average.copy_(average.lerp(weight, 1 - min(decay, (1 + n) / (10 + n))))

    average_of = AveragedModel(network, multi_avg_fn=update)
    return average_of
