"""Write a model as an ONNX file, with a sampler that needs numpy and onnxruntime alone."""

import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from course_lib.interop.description import CODE, Exported, facts, write_json

OPSET = 20
README = """# {name} in ONNX

{facts}

`python sample.py --out images.png` draws with numpy and onnxruntime alone; `python sample.py --help` lists the options.
From the same noise (`--noise`) it draws what `course sample` draws in float32, but for rounding.

`network.onnx` has the inputs `x` (n, {shape}) and `t` (n,), both float32{cond}, and one output of the shape of x.
`model.json` says what the output is of x = signal(t) x_0 + noise(t) eps, and holds the schedule: for a table, signal and noise at the times
0, 1, ..., T, where 0 is the data.
"""
CONDITIONS = {
    "classes": ", and `cond` (n,), int64: a class, or {classes}, which stands for none",
    "leaps": ", and `cond` (n,), float32: the time at which a step ends",
    "": "",
}


class Answering(nn.Module):
    """A network without the channels of a learned variance."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """x `(B, C, H, W)` at times t `(B,)`, told cond `(B,)` or nothing, to the shape of x."""
        return self.network(x, t, cond)[:, : x.shape[1]]


class Decoding(nn.Module):
    """The way back from an autoencoder's latents."""

    def __init__(self, autoencoder: Any) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, z: Tensor) -> Tensor:
        """Latents z `(B, C, H, W)` to images `(B, C', H', W')`."""
        return self.autoencoder.decode(z)


def write_onnx(folder: Path, model: Exported) -> None:
    """Write network, description, sampler and README into an empty folder."""
    description = model.description
    x, t = torch.zeros(2, *description["shape"]), torch.ones(2)
    kind = "classes" if description["classes"] else "leaps" if description["leaps"] else ""
    cond = {"classes": torch.zeros(2, dtype=torch.int64), "leaps": torch.zeros(2), "": None}[kind]
    save_onnx(
        folder / "network.onnx", Answering(model.network), {"x": x, "t": t} | ({} if cond is None else {"cond": cond})
    )
    if model.autoencoder is not None:
        save_onnx(folder / "decoder.onnx", Decoding(model.autoencoder), {"z": x})
    write_json(folder / "model.json", description)
    (folder / "sample.py").write_text((CODE / "exported_sample.py").read_text())
    cond_words = CONDITIONS[kind].format(**description)
    shape = ", ".join(map(str, description["shape"]))
    text = README.format(name=model.card.name, facts=facts(model.card), shape=shape, cond=cond_words)
    (folder / "README.md").write_text(text)


def save_onnx(path: Path, network: nn.Module, inputs: dict[str, Tensor]) -> None:
    """Write a network as ONNX for any number of samples; `inputs` are two samples of each argument, `(2, ...)`."""
    batch = torch.export.Dim.DYNAMIC
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it tells of packages that no network here uses
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own future
        torch.onnx.export(
            network.eval(),
            tuple(inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=["output"],
            dynamic_shapes={name: {0: batch} for name in inputs},
            dynamo=True,
            external_data=False,
            opset_version=OPSET,
            verbose=False,
        )
