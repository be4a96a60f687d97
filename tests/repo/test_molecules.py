"""The benchmark of molecules: what is compared, the Gaussians, what is read of QM9, and the ledger."""

import io
import json
import zipfile
from pathlib import Path

import pytest
import torch

from benchmarks import molecules as benchmark
from course_lib.data import molecules as world

ROOT = Path(__file__).resolve().parents[2]
ENTRY = json.loads((ROOT / "results" / "molecules.json").read_text())
METRICS = ENTRY["metrics"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_contestants_are_as_the_ledger_says_and_training_keeps_them(tmp_path: Path) -> None:
    for name in ("equivariant", "plain, turned", "right-handed, equivariant"):
        benchmark.train(None, tmp_path, name, 0, True)
        network, seconds = benchmark.trained(tmp_path, name, benchmark.KINDS[name].build)[0]
        assert seconds < 60 and sum(p.numel() for p in network.parameters()) == METRICS[f"{name}: parameters"]["value"]
    assert set(benchmark.trained(tmp_path, "plain, turned", benchmark.Plain)) == {0}
    with pytest.raises(ValueError, match="qm9 needs --qm9 FILE"):
        benchmark.train(None, tmp_path, "qm9, equivariant", 0, True)


def test_only_the_plain_network_knows_how_a_molecule_is_turned() -> None:
    new = world.molecules(20, seeded(1))
    torch.manual_seed(0)
    for network, equivariant in ((benchmark.Plain(), False), (benchmark.EquivariantNetwork(16, 2), True)):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=seeded(3)))
        for mirror in (False, True):
            assert (benchmark.turning_error(network.eval(), new, 0.7, mirror) < 1e-4) == equivariant
        answer = network(new.places, torch.full((20,), 300.0), new.atoms).detach()
        torch.testing.assert_close(answer.sum(1), torch.zeros(20, 3), atol=1e-4, rtol=0)
        assert not bool(answer[new.atoms == 0].any())


def test_gaussians_have_the_covariance_of_their_formula_and_no_pose() -> None:
    known = world.molecules(3000, seeded(), ["CO", "OO"])
    atoms = known.atoms[(known.atoms[:, 0] == 2).nonzero()[0]].expand(3000, -1)
    drawn = benchmark.fitted(known, atoms, seeded(1))
    mine = known.places[(known.atoms == atoms[0]).all(1)]
    expected = torch.einsum("nix,njx->ij", mine, mine) / (3 * len(mine))
    for axis in range(3):
        found = drawn[..., axis].T @ drawn[..., axis] / len(drawn)
        assert float((found - expected).abs().max()) < 0.1
    assert float(torch.einsum("nix,niy->xy", drawn, drawn).div(len(drawn)).fill_diagonal_(0).abs().max()) < 0.3


def test_qm9_is_read_from_its_wheel(tmp_path: Path) -> None:
    """Of a wheel with four molecules only the one with seven heavy atoms, none of them fluorine, is taken, its centre at 0."""
    heavy = ["C", "O", "N", "C", "C", "C", "C"]
    rows = [(1, ["C", "H"]), (800, ["H", *heavy, "H"]), (801, [*heavy[:6], "F"]), (5000, heavy)]
    text = io.StringIO()
    text.write("Index,Elements,XYZ_Ang\n")
    for index, elements in rows:
        text.write(f'{index},"{elements}","{[[float(k), 1.0, 0.0] for k in range(len(elements))]}"\n')
    with zipfile.ZipFile(tmp_path / "wheel.whl", "w") as archive:
        archive.writestr("qm9pack/data/qm9_part1.csv", text.getvalue())
    found = benchmark.read_qm9(tmp_path / "wheel.whl")
    assert found.atoms.tolist() == [[2, 4, 3, 2, 2, 2, 2]]
    torch.testing.assert_close(found.places[0, :, 0], torch.arange(-3.0, 4.0))
    assert not bool(found.places[..., 1:].any())


def test_the_ledger_says_what_the_page_says() -> None:
    assert ENTRY["options"]["seeds"] == benchmark.SEEDS
    valid = {name: METRICS[f"{name}: valid"] for name in ("equivariant", "plain", "plain, turned", "new molecules")}
    spread = {name: METRICS[f"{name}: valid over seeds"] for name in ("equivariant", "plain", "plain, turned")}
    for name in ("plain", "plain, turned"):
        assert valid["equivariant"]["low"] > valid[name]["high"]
        assert spread["equivariant"]["low"] > spread[name]["high"]  # the worst training against the best
        assert METRICS[f"{name}: turning error"]["low"] > 0.1
    assert METRICS["equivariant: turning error"]["high"] < 1e-5
    assert METRICS["Gaussian of each formula: valid"]["high"] < 0.05 < 0.95 < valid["new molecules"]["low"]
    assert valid["plain"]["value"] > valid["plain, turned"]["value"]
    assert METRICS["qm9, equivariant: valid"]["low"] > METRICS["qm9, plain, turned: valid"]["high"]
    hand = METRICS["right-handed, equivariant: right-handed"]
    assert hand["low"] < 0.5 < hand["high"]
    for texts in ENTRY["molecules"].values():
        assert len(texts) == 16 and {len(text.split()) % 4 for text in texts} == {0}
