"""The published PyTorch program's weights -> our variables.

The published names are `encoder.*`, `decoder.*` and `bn1d.*` for the auto-encoder, and the encoder's without
the prefix for a stage-two checkpoint. PyTorch keeps convolutions as `[out, in, kH, kW]`, transposed ones as
`[in, out, kH, kW]` with the kernel flipped, and flattens images channels-first.

    variables, count = lenet_variables(read_state_dict("ae_ckp.npz"), image_side=32)
    variables, count = resnet_variables(read_state_dict("best_ae_ckp.npz"))
    variables, count = video_variables(read_state_dict("net_ckp.npz"), image_shape=(16, 256, 512, 3))
"""

from mocca_jax.torch_weights.lenet import lenet_variables
from mocca_jax.torch_weights.resnet import resnet_variables
from mocca_jax.torch_weights.video import video_variables
from mocca_jax.weights.state_dict import read as read_state_dict

__all__ = ["lenet_variables", "read_state_dict", "resnet_variables", "video_variables"]
