"""Records what the ShanghaiTech network computes in PyTorch, for tests/test_video_resnet.py.

python -m experiments.record_video tests/recorded/shanghaitech.npz

Weights and inputs are drawn from a seed by name (`experiments.record_resnet.draw`), so only results are stored.
"""

import sys

import numpy as np

from experiments.record_resnet import draw

SHAPE, CODE, HIDDEN, BATCH = (8, 64, 32, 3), 16, 12, 3
VARIANTS = {
    "plain": {},
    "selectors": {"selectors": True},
    "deep": {"num_layers": 2, "bidirectional": True},
}


def clip() -> np.ndarray:
    """`[B, C, T, H, W]` in [0, 1]."""
    frames, height, width, channels = SHAPE
    return np.random.default_rng(0).uniform(0, 1, (BATCH, channels, frames, height, width)).astype(np.float32)


def main(path: str) -> None:
    import torch

    from experiments.bench import torch_video

    frames, height, width, channels = SHAPE
    x = torch.tensor(clip(), dtype=torch.double)
    found = {}
    for variant, settings in VARIANTS.items():
        model = torch_video.AutoEncoder((channels, frames, height, width), CODE, HIDDEN, **settings).double()
        names = {n: tuple(t.shape) for n, t in model.state_dict().items() if not n.endswith("num_batches_tracked")}
        found |= {f"{variant}/shape/{name}": np.array(shape, np.int64) for name, shape in names.items()}
        for mode in ("eval", "train"):
            model.load_state_dict({n: torch.tensor(draw(n, s)) for n, s in names.items()}, strict=False)
            model.train(mode == "train")
            reconstruction, features = model(x)
            found |= {f"{variant}/{mode}/layer{j}": f.detach().numpy() for j, f in enumerate(features)}
            found[f"{variant}/{mode}/reconstruction@every101"] = reconstruction.detach().numpy().ravel()[::101]
            loss = sum((f**2).sum(1).mean() for f in features) + ((reconstruction - x) ** 2).sum((1, 2, 3, 4)).mean()
            found[f"{variant}/{mode}/loss"] = loss.detach().numpy()
            model.zero_grad()
            loss.backward()
            norms = {n: p.grad.norm().numpy() for n, p in model.named_parameters()}
            found |= {f"{variant}/{mode}/gradient_norm/{name}": norm for name, norm in norms.items()}
        found |= {f"{variant}/after/{n}": t.numpy() for n, t in model.state_dict().items() if "running" in n}
    arrays = {n: np.asarray(a, np.int64 if "/shape/" in n else np.float32) for n, a in found.items()}
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
