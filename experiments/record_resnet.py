"""Records what the MVTec AD network computes in PyTorch, for tests/test_resnet.py.

python -m experiments.record_resnet tests/recorded/mvtec.npz

Weights and inputs are drawn from a seed by name (`experiments.record_resnet.draw`), so only results are stored.
"""

import sys

import numpy as np

SIDE, CODE, BATCH = 32, 16, 6


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor of the state dict, in the range that its kind has in a trained network."""
    rng = np.random.default_rng(list(name.encode()))
    if name.endswith("running_var"):
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if len(shape) > 1:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    around = 1.0 if name.endswith("weight") else 0.0
    return rng.normal(around, 0.1, shape).astype(np.float32)


def image() -> np.ndarray:
    """`[B, 3, S, S]` in [-1, 1]."""
    return np.random.default_rng(0).uniform(-1, 1, (BATCH, 3, SIDE, SIDE)).astype(np.float32)


def main(path: str) -> None:
    import torch

    from experiments.bench import torch_resnet

    model = torch_resnet.AutoEncoder(SIDE, CODE, range(8)).double()
    names = {n: tuple(t.shape) for n, t in model.state_dict().items() if not n.endswith("num_batches_tracked")}
    found = {f"shape/{name}": np.array(shape, np.int64) for name, shape in names.items()}
    x = torch.tensor(image(), dtype=torch.double)
    for mode in ("eval", "train"):
        model.load_state_dict({n: torch.tensor(draw(n, s)) for n, s in names.items()}, strict=False)
        model.train(mode == "train")
        code, features = model.encoder(x)
        reconstruction = model.decoder(code)
        found |= {f"{mode}/layer{j}": f.detach().numpy() for j, f in enumerate(features)}
        found[f"{mode}/reconstruction@every29"] = reconstruction.detach().numpy().ravel()[::29]
        loss = sum((f**2).sum(1).mean() for f in features) + ((reconstruction - x) ** 2).sum((1, 2, 3)).mean()
        found[f"{mode}/loss"] = loss.detach().numpy()
        model.zero_grad()
        loss.backward()
        found |= {f"{mode}/gradient_norm/{n}": p.grad.norm().numpy() for n, p in model.named_parameters()}
    after = {n: t.numpy() for n, t in model.state_dict().items() if "running" in n}
    found |= {f"after/{name}": array for name, array in after.items()}
    np.savez_compressed(
        path, **{n: np.asarray(a, np.int64 if n[:5] == "shape" else np.float32) for n, a in found.items()}
    )


if __name__ == "__main__":
    main(sys.argv[1])
