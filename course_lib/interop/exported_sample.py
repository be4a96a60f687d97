"""Draw from a model of the course Learning to Denoise with numpy and onnxruntime alone: python sample.py --out images.png."""

import argparse
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

FOLDER = Path(__file__).resolve().parent
Array = np.ndarray[Any, Any]
# What each prediction says of x_0, where x = a x_0 + b eps.
TO_X0 = {
    "eps": lambda output, x, a, b: (x - b * output) / a,
    "x0": lambda output, x, a, b: output,
    "v": lambda output, x, a, b: (a * x - b * output) / (a**2 + b**2),
    "score": lambda output, x, a, b: (x + b**2 * output) / a,
    "flow": lambda output, x, a, b: (x - b * output) / (a + b),
}


def falling(top: float, steps: int) -> Array:
    """`(steps + 1,)` numbers, evenly spaced from top to 0; the second half is counted from the end, as torch does."""
    k = np.arange(steps + 1)
    return np.where(k < (steps + 1) // 2, top - top / steps * k, top / steps * (steps - k))


def levels(schedule: dict[str, Any], steps: int) -> tuple[Array, Array, Array]:
    """The times that the network is told, and the signal and noise there, each `(steps + 1,)`, falling to the data."""
    if schedule["kind"] == "table":
        if not 1 <= steps < len(schedule["signal"]):
            raise SystemExit(f"--steps must lie in [1, {len(schedule['signal']) - 1}]; got {steps}")
        times = falling(len(schedule["signal"]) - 1, steps).round().astype(int)
        return times, np.array(schedule["signal"])[times], np.array(schedule["noise"])[times]
    if steps < 1:
        raise SystemExit(f"--steps must be at least 1; got {steps}")
    if schedule["kind"] == "straight":
        noise = falling(1.0, steps)
        return noise, 1 - noise, noise
    root = 1 / schedule["rho"]  # the levels of Karras et al. (2022), equation 5
    top, low = schedule["sigma_max"] ** root, schedule["sigma_min"] ** root
    noise = np.append((top + np.linspace(0, 1, steps) * (low - top)) ** schedule["rho"], 0)
    return noise, np.ones_like(noise), noise


def draw(noise: Array, steps: int = 50, labels: Array | None = None, scale: float = 1.0) -> Array:
    """Samples from standard normal noise `(n, *shape)` by DDIM, in [-1, 1]: guided to classes `(n,)`, where the model knows some."""
    model = json.loads((FOLDER / "model.json").read_text())
    network = onnxruntime.InferenceSession(FOLDER / "network.onnx")

    def ask(x: Array, t: float, cond: Array | None) -> Array:
        given = {"x": x, "t": np.full(len(x), t, np.float32)} | ({} if cond is None else {"cond": cond})
        return np.asarray(network.run(None, given)[0])

    times, signal, sigma = levels(model["schedule"], steps)
    x = (sigma[0] * noise).astype(np.float32)
    for k in range(steps):
        t, a, b = float(times[k]), float(signal[k]), float(sigma[k])
        cond = np.full(len(x), times[k + 1], np.float32) if model["leaps"] is not None else labels
        x0 = TO_X0[model["prediction"]](ask(x, t, cond), x, a, b)
        if labels is not None and scale != 1:  # classifier-free guidance: the null token is the last class but one more
            free = TO_X0[model["prediction"]](ask(x, t, np.full_like(labels, model["classes"])), x, a, b)
            x0 = free + scale * (x0 - free)
        if model["clip"] is not None:
            x0 = x0.clip(-model["clip"], model["clip"])
        x = float(signal[k + 1]) * x0 + float(sigma[k + 1]) * (x - a * x0) / b
    if (FOLDER / "decoder.onnx").exists():
        x = np.asarray(onnxruntime.InferenceSession(FOLDER / "decoder.onnx").run(None, {"z": x})[0])
    return x.clip(-1, 1)


def png(images: Array) -> bytes:
    """Pictures `(n, 1 or 3, H, W)` in [-1, 1] beside each other as a PNG file."""
    row = np.concatenate(list(((images + 1) * 127.5).round().astype(np.uint8)), axis=-1)  # (C, H, n W)
    lines = np.ascontiguousarray(row.transpose(1, 2, 0)).reshape(row.shape[1], -1)
    data = zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines))
    header = struct.pack(">2I5B", row.shape[2], row.shape[1], 8, 2 if len(row) == 3 else 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    packed = [struct.pack(">I", len(c)) + name + c + struct.pack(">I", zlib.crc32(name + c)) for name, c in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def main() -> None:
    """Read the options, draw, and write a picture, or the numbers to a .npy file."""
    model = json.loads((FOLDER / "model.json").read_text())
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--n", type=int, default=8, help="how many pictures")
    options.add_argument("--steps", type=int, default=(model["leaps"] or [50])[-1])
    options.add_argument("--seed", type=int, default=0)
    options.add_argument(
        "--noise", help="a .npy file of standard normal numbers to begin with, in the place of --n and --seed"
    )
    options.add_argument("--label", type=int, help="the class to draw (all in turn by default)")
    options.add_argument("--scale", type=float, default=1.0, help="guidance scale; 1 is the conditional model")
    options.add_argument("--out", default="images.png", help="a .png or .npy file")
    given = options.parse_args()
    random = np.random.default_rng(given.seed)
    noise = np.load(given.noise) if given.noise else random.standard_normal((given.n, *model["shape"]))
    if noise.shape[1:] != tuple(model["shape"]):
        raise SystemExit(f"--noise must have shape (n, {', '.join(map(str, model['shape']))}); got {noise.shape}")
    labels = None
    if model["classes"] is None:
        if given.label is not None or given.scale != 1:
            raise SystemExit("the model was trained without classes: it takes neither --label nor --scale")
    else:
        if given.label is not None and not 0 <= given.label < model["classes"]:
            raise SystemExit(f"--label must lie in [0, {model['classes'] - 1}]; got {given.label}")
        turn = np.arange(len(noise)) * model["classes"] // len(noise)
        labels = turn if given.label is None else np.full(len(noise), given.label)
    if model["leaps"] is not None and given.steps not in model["leaps"]:
        raise SystemExit(
            f"--steps must be one of {model['leaps']}, which the model has learned to take; got {given.steps}"
        )
    images = draw(noise, given.steps, labels, given.scale)
    if given.out.endswith(".npy"):
        np.save(given.out, images)
    else:
        Path(given.out).write_bytes(png(images))


if __name__ == "__main__":
    main()
