"""Take finished runs into checkpoints/, bring the cards up to date with results/, and renew course_lib/models/weights.json.

.venv/bin/python tools/ship.py [RUN ...] [--bf16]

Each RUN is a folder of `course train`. With --bf16 its weights are stored in half the space. A classifier of clean images also
gets its reference features, which needs the data set. Without a RUN only the cards and the checksums are renewed.
"""

import argparse
import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from course_lib.evaluation.ledger import ledger
from course_lib.evaluation.reference import CLASSIFIERS, build_reference
from course_lib.files import write_atomically
from course_lib.models import store
from course_lib.models.cards import ModelCard, load_card, save_card

TOTAL, EACH = 150e6, 15e6  # bytes that may ship


def take(run: Path, bf16: bool) -> None:
    """Copy a run's averaged weights and card, and build what belongs to them."""
    network, card = store.load(run)
    store.save(store.SHIPPED / f"{card.name}.safetensors", network, card, torch.bfloat16 if bf16 else None)
    for data_set, classifier in CLASSIFIERS.items():
        if classifier == card.name:
            build_reference(data_set)


def measured(card: ModelCard, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """What the ledger says of these very weights; for a model that was measured in several ways, the best Fréchet distance."""
    mine = [entry for entry in entries if entry.get("sha256") == card.sha256]
    best = min(mine, key=lambda entry: entry["metrics"].get("frechet distance", {"value": 0})["value"], default=None)
    if best is None:
        return card.metrics
    return {**({"options": best["options"]} if best["options"] else {}), **best["metrics"]}


def main() -> None:
    """Ship the runs; refuse where the files would be too large."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--bf16", action="store_true")
    arguments = parser.parse_args()
    for run in arguments.runs:
        take(run, arguments.bf16)
    entries = ledger(ROOT / "results")
    for file in sorted(store.SHIPPED.glob("*.json")):
        card = load_card(file)
        save_card(file, dataclasses.replace(card, metrics=measured(card, entries)))
    files = sorted(file for file in store.SHIPPED.iterdir() if file.suffix in {".json", ".safetensors"})
    for file in files:
        file.chmod(0o644)
    sizes = {file.name: file.stat().st_size for file in files}
    if sum(sizes.values()) > TOTAL or max(sizes.values()) > EACH:
        sys.exit(f"too large to ship (150 MB in all, 15 MB each): {sizes}")
    known = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    write_atomically(store.CHECKSUMS, json.dumps(known, indent=2).encode() + b"\n")
    print(f"{len(files)} files, {sum(sizes.values()) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
