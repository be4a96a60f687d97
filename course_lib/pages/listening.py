"""Sounds in a page: the wave itself stands in it, so that no other file is asked for."""

import base64
import html
import io
import wave

import numpy as np


def audio_html(samples: np.ndarray, rate: int, label: str) -> str:
    """HTML that plays one row of samples in [-1, 1] at `rate` samples a second, with the label above it, for eyes and screen readers.

    It plays on a click only. Raises ValueError for another shape, an empty label, and samples that are not finite.
    """
    samples = np.asarray(samples, dtype=np.float64)
    if samples.ndim != 1 or not len(samples) or not np.isfinite(samples).all():
        raise ValueError(f"samples must be one row of finite numbers; got shape {samples.shape}")
    if not label.strip():
        raise ValueError("label must say in words what is heard")
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes((samples.clip(-1, 1) * 32767).round().astype("<i2").tobytes())
    text, data = html.escape(label, quote=True), base64.b64encode(file.getvalue()).decode()
    return (
        f'<figure class="audio" style="margin:.6em 0"><figcaption>{text}</figcaption>'
        f'<audio controls preload="metadata" aria-label="{text}" src="data:audio/wav;base64,{data}"></audio></figure>'
    )
