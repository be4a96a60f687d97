"""An animation that a static page can play: all frames in one picture, a slider, and buttons; no other file is asked for."""

import base64
import html
import io
import json
import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

STYLE = """
.player{margin:1em 0;text-align:center}
.player .screen{margin:0 auto;max-width:100%;overflow:hidden;position:relative;border-radius:6px;background:#fff}
.player .screen img{position:absolute;top:0;left:0;max-width:none;image-rendering:pixelated;background:none}
.player .controls{display:flex;gap:.5em;align-items:center;justify-content:center;margin:.5em auto;max-width:34em}
.player input{flex:1;min-width:6em}
.player button{min-width:2.4em;min-height:2.2em;cursor:pointer}
.player figcaption{min-height:1.5em}
"""

# One instance runs on each figure. Position is in frames; the sheet is moved under a window of one frame.
SCRIPT = """
(function(figure){
  var count=+figure.dataset.frames, columns=+figure.dataset.columns, rows=Math.ceil(count/columns), fps=+figure.dataset.fps;
  var texts=JSON.parse(figure.dataset.captions), sheet=figure.querySelector("img"), screen=figure.querySelector(".screen");
  var slider=figure.querySelector("input"), caption=figure.querySelector(".now"), play=figure.querySelector(".play");
  var timer=null;
  function show(frame){
    slider.value=frame;
    sheet.style.left=(-100*(frame%columns))+"%"; sheet.style.top=(-100*Math.floor(frame/columns))+"%";
    caption.textContent=texts.length?texts[frame]:(frame+1)+" / "+count;
    slider.setAttribute("aria-valuetext",caption.textContent);
  }
  function stop(){ clearInterval(timer); timer=null; play.textContent="Play"; }
  function start(){
    if(+slider.value===count-1) show(0);
    play.textContent="Pause";
    timer=setInterval(function(){ if(+slider.value===count-1) stop(); else show(+slider.value+1); },1000/fps);
  }
  sheet.style.width=100*columns+"%"; sheet.style.height=100*rows+"%";
  play.addEventListener("click",function(){ timer?stop():start(); });
  slider.addEventListener("input",function(){ stop(); show(+slider.value); });
  figure.querySelector(".back").addEventListener("click",function(){ stop(); show(Math.max(0,+slider.value-1)); });
  figure.querySelector(".next").addEventListener("click",function(){ stop(); show(Math.min(count-1,+slider.value+1)); });
  show(+slider.value);
})(document.currentScript.previousElementSibling);
"""


def player_html(
    frames: np.ndarray, alt: str, captions: Sequence[str] = (), fps: float = 8, width: int = 480, drawn: bool = False
) -> str:
    """HTML that plays uint8 frames `(N, H, W)` or `(N, H, W, 3)`, with one caption a frame or none, `width` pixels wide.

    `drawn` says that they are dark lines on white paper, and no pictures: then a dark page may turn paper and inks about.
    It opens on the last frame and starts on a click only. Raises ValueError for no frames, another dtype, an empty `alt`, or
    captions that differ in number from the frames.
    """
    if frames.dtype != np.uint8 or frames.ndim not in (3, 4) or not len(frames):
        raise ValueError(
            f"frames must be uint8 of shape (N, H, W) or (N, H, W, 3), N >= 1; got {frames.dtype} {frames.shape}"
        )
    if not alt.strip():
        raise ValueError("alt must say in words what the animation shows")
    if captions and len(captions) != len(frames):
        raise ValueError(f"captions must be one a frame ({len(frames)}) or none; got {len(captions)}")
    kind = "player drawn" if drawn else "player"
    columns = math.ceil(math.sqrt(len(frames)))
    height, frame_width = frames.shape[1:3]
    texts = html.escape(json.dumps(list(captions)), quote=True)
    last = len(frames) - 1
    return (
        f"<style>{STYLE}</style>"
        f'<figure class="{kind}" data-frames="{len(frames)}" data-columns="{columns}" data-fps="{fps:g}" data-captions="{texts}">'
        f'<div class="screen" style="width:{width}px;aspect-ratio:{frame_width}/{height}">'
        f'<img alt="{html.escape(alt, quote=True)}" src="data:image/png;base64,{sprite_sheet(frames, columns)}"></div>'
        '<div class="controls"><button type="button" class="play">Play</button>'
        '<button type="button" class="back" aria-label="one frame back">&lt;</button>'
        f'<input type="range" min="0" max="{last}" value="{last}" aria-label="frame">'
        '<button type="button" class="next" aria-label="one frame on">&gt;</button></div>'
        f'<figcaption class="now" aria-live="off"></figcaption></figure><script>{SCRIPT}</script>'
    )


def sprite_sheet(frames: np.ndarray, columns: int) -> str:
    """All frames side by side in rows of `columns`, as a base64 PNG."""
    rows = math.ceil(len(frames) / columns)
    _, height, width, *rest = frames.shape
    sheet = np.zeros((rows * height, columns * width, *rest), np.uint8)
    for n, frame in enumerate(frames):
        top, left = n // columns * height, n % columns * width
        sheet[top : top + height, left : left + width] = frame
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
