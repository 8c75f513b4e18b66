"""Records what timm's DINOv2 and DINOv3 transformers compute, for tests/test_vit.py.

python -m experiments.record_vit tests/recorded/vit.npz

Needs torch, torchvision and timm. Images and weights are drawn from seeds by name, see `record_efficientnet`. The
networks are small ones of the same make; of the real ones the names and shapes are recorded.
"""

import sys

import numpy as np

from experiments.record_efficientnet import block_outputs, image, some
from experiments.record_imagenet import _names
from experiments.record_resnet import draw

PATCH, WIDTH, HEADS, DEPTH, GRID = 4, 16, 2, 3, 5
SIDES = {"trained": (20, 20), "finer": (36, 28), "coarser": (8, 16)}
SMALL = ("dinov2", "reg4_dinov2", "dinov3", "dinov3_qkvb")
REAL = ("vit_small_patch14_dinov2", "vit_base_patch14_reg4_dinov2", "vit_small_patch16_dinov3")


def main(path: str) -> None:
    import timm
    import torch

    found: dict[str, np.ndarray] = {}
    for name in SMALL:
        model = _small(name).double().eval()
        shapes = {n: tuple(t.shape) for n, t in model.state_dict().items()}
        model.load_state_dict({n: torch.tensor(draw(n, s)) for n, s in shapes.items()})
        found[f"{name}/names"] = _names(model)
        for which, sides in SIDES.items():
            with torch.no_grad():
                outputs = block_outputs(model, model.blocks, torch.tensor(image(sides), dtype=torch.double))
            grid = tuple(side // PATCH for side in sides)
            maps = [tokens[:, -grid[0] * grid[1] :].swapaxes(1, 2).reshape(2, WIDTH, *grid) for tokens in outputs]
            found[f"{name}/{which}/values"] = np.concatenate([some(values) for values in maps])
            found[f"{name}/{which}/shapes"] = np.array([values.shape for values in maps])
    for name in REAL:
        found[f"{name}/names"] = _names(timm.create_model(name, num_classes=0))
    np.savez_compressed(path, **found)


def _small(name: str):
    from functools import partial

    import torch
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer

    sizes = {"img_size": GRID * PATCH, "patch_size": PATCH, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS}
    common = {**sizes, "num_classes": 0, "init_values": 1e-5, "dynamic_img_size": True}
    if not name.startswith("dinov3"):
        registers = {"reg_tokens": 4, "no_embed_class": True} if name.startswith("reg4") else {}
        return VisionTransformer(**common, **registers)
    return Eva(  # as timm's vit_small_patch16_dinov3
        **common,
        qkv_bias=name.endswith("qkvb"),
        rope_type="dinov3",
        rope_temperature=100,
        rope_rotate_half=True,
        use_rot_pos_emb=True,
        use_abs_pos_emb=False,
        num_reg_tokens=4,
        use_fc_norm=False,
        norm_layer=partial(torch.nn.LayerNorm, eps=1e-5),
    )


if __name__ == "__main__":
    main(sys.argv[1])
