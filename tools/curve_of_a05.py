"""Measure the curve that a05's hidden tests compare with: python -m tools.curve_of_a05 (half an hour on one core; goes on where it was).

Guidance with the given network draws the same images for everybody, so its curve is measured here once, and not again for each
submission. To be run after a change of the model, its sampler or its measurement in solutions/a05_cifar_cfg/given/guide.py.
"""

from autograder.suites.a05_cifar_cfg import test_a05
from course_lib.files import write_atomically

# Close where students measure and the curve bends.
SCALES = (
    *(-20.0, -10.0, -5.0, -2.0, -1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0),
    *(5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 15.0, 20.0),
)


def main() -> None:
    """Measure the scales that the table lacks, and write it after each."""
    network, file = test_a05.guide.noise_network(), test_a05.REFERENCE / "given_network.csv"
    rows = {row["scale"]: row for row in test_a05.table()} if file.exists() else {}
    for scale in SCALES:
        if scale not in rows:
            rows[scale] = test_a05.measured(network, scale)
            print("   ".join(f"{name} {value:.4f}" for name, value in rows[scale].items()), flush=True)
            lines = [",".join(f"{rows[s][name]:.5g}" for name in test_a05.guide.COLUMNS) for s in sorted(rows)]
            write_atomically(file, "\n".join([",".join(test_a05.guide.COLUMNS), *lines, ""]).encode())


if __name__ == "__main__":
    main()
