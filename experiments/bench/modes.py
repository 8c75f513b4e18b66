"""Command: what the config fields that save memory cost in time.

python -m experiments.bench.modes [--rounds=5]

MVTec AD's auto-encoder, 64x64, batch 32, in one process; the variants take turns. Memory is what the compiled step
holds beside the state, as XLA says, over all devices.
"""

import argparse
import statistics
from typing import Any

import numpy as np

from experiments.bench.interleaved import timed
from experiments.markdown import header, line

VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "`accumulation=4`": {"accumulation": 4},
    "`rematerialisation=True`": {"rematerialisation": True},
    "both": {"accumulation": 4, "rematerialisation": True},
    "`compute_dtype=bfloat16`": {"compute_dtype": "bfloat16"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    import jax

    from experiments.bench import ours
    from mocca_jax.configs import mvtec
    from mocca_jax.training import parallel

    parallel.configure(0, None)
    batch = np.random.default_rng(0).random((32, 64, 64, 3), np.float32)
    steps, memory = {}, {}
    for name, fields in VARIANTS.items():
        config = mvtec.get_config("bottle")
        config.update(fields)
        jitted, state, images = ours.program(config, batch, "reconstruction", ())
        compiled = jitted.lower(state, *images).compile()
        memory[name] = jax.device_count() * compiled.memory_analysis().temp_size_in_bytes
        steps[name] = ours.stepping(compiled, state, images)
    times: dict[str, list[float]] = {name: [] for name in VARIANTS}
    for _ in range(1 + options.rounds):
        for name, step in steps.items():
            times[name].append(1e3 * timed(step, 1)[0])
    medians = {name: statistics.median(found[1:]) for name, found in times.items()}  # the first warms up
    print("\n".join(header(["fields", "ms per step", "relative", "memory of the step, MB"])))
    for name, median in medians.items():
        print(line([name, f"{median:.0f}", f"{median / medians['as it is']:.2f}", f"{memory[name] / 1e6:.0f}"]))


if __name__ == "__main__":
    main()
