"""Time of fitting statistics by place and of a threshold, ours beside scikit-learn and NumPy doing the same.

python -m experiments.bench.fitting [--pictures=209] [--rounds=3]

Random features as the folder's default has them: 256 places of 256 numbers, the coarse grid. Ours: sums, shrinkage and
whitening, then every picture left out once in closed form, with its nearest neighbors; scikit-learn fits `ledoit_wolf`
at each place and gives distances of pictures that it has seen. To leave each picture out it would fit once for each.
"""

import argparse
import statistics

import numpy as np

from experiments.bench import interleaved

PLACES, SIZE, GRID = 256, 256, (16, 16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=209)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(interleaved.circumstances(pictures=options.pictures, places=PLACES, numbers=SIZE))
    rng = np.random.default_rng(0)
    mix = rng.normal(size=(SIZE, SIZE)) / 16
    features = (rng.normal(size=(options.pictures, PLACES, SIZE)) @ mix).astype(np.float32)
    print("| what | seconds, median | min |\n|---|---|---|")
    for name, call in calls(features).items():
        call()
        times = interleaved.timed(call, options.rounds)
        print(f"| {name} | {statistics.median(times):.3g} | {min(times):.3g} |", flush=True)


def calls(features: np.ndarray) -> dict:
    """What is timed, by name."""
    import jax
    from scipy import linalg
    from sklearn.covariance import ledoit_wolf

    from mocca_jax.method import places, threshold

    nothing, numbers = np.zeros((PLACES, SIZE, SIZE)), np.arange(len(features))
    distances = jax.jit(lambda found, x, own: places.distances(found, x, GRID, own, x)["place"])

    def ours():
        sums = places.Sums(features[:8].mean(0))
        for start in range(0, len(features), 64):
            sums.add(features[start : start + 64])
        return places.fit(sums, nothing, features, numbers)

    fitted = ours()

    def ours_left_out():
        parts = [np.arange(start, min(start + 16, len(features))) for start in range(0, len(features), 16)]
        return [np.asarray(distances(fitted, features[rows], rows)) for rows in parts]

    def theirs():
        found = []
        for place in range(PLACES):
            x = features[:, place].astype(np.float64)
            whitened = linalg.solve_triangular(linalg.cholesky(ledoit_wolf(x)[0], lower=True), (x - x.mean(0)).T)
            found.append(np.sqrt(np.square(whitened).sum(0)))
        return np.stack(found, 1)

    scores = np.random.default_rng(1).normal(size=10_000)
    heldout = scores[: len(features)]
    return {
        "ours, fit with neighbours": ours,
        "ours, every picture left out": ours_left_out,
        "scikit-learn, fit and distances of seen pictures": theirs,
        "ours, threshold and 10,000 p-values": lambda: (
            threshold.conformal_threshold(heldout, 0.05),
            threshold.p_values(scores, heldout),
        ),
        "NumPy, the same by comparing all pairs": lambda: (
            np.quantile(heldout, 0.95, method="higher"),
            (1 + (heldout[None] >= scores[:, None]).sum(1)) / (len(heldout) + 1),
        ),
    }


if __name__ == "__main__":
    main()
