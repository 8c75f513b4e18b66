"""The fields of a config: of each what it means, its unit, what it may hold, and the group it is shown in.

One table for everything that speaks of fields: the check before a run, `mocca config`, docs/config.md. Defaults are
what the files in `configs/` say. Sections, equations and tables are the paper's.
"""

from typing import Any

from mocca_jax.config.rules import (
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    SWITCH,
    TEXT,
    Field,
    choice,
    different,
    in_group,
    integer,
    integers,
    named,
    number,
)

GROUPS = ("data", "network", "method", "anomaly maps", "training", "stage")


_DATA = {
    "data": named("cifar10", "digits", "synthetic", "folder", "mvtec", "moving", "video").means("the data set"),
    "data_dir": TEXT.means(
        "the folder that the data lies in. '' for the data set's own place: TFDS_DATA_DIR, else "
        "~/tensorflow_datasets, for CIFAR-10; MOCCA_DATA_DIR/mvtec, else ~/mvtec, for MVTec AD. Folders of images "
        "and videos have no such place. Data that is made up, and digits, need none"
    ),
}
_NETWORK = {
    "encoder": named(
        "lenet",
        "resnet",
        "video_resnet",
        "flow",
        "resnet8",
        "resnet14",
        "resnet20",
        "efficientnet_lite0",
        "efficientnet_lite1",
        "efficientnet_lite2",
        "resnet18",
        "wide_resnet50_2",
        "vit_small_patch14_dinov2",
        "vit_base_patch14_dinov2",
        "vit_small_patch14_reg4_dinov2",
        "vit_base_patch14_reg4_dinov2",
        "vit_small_patch16_dinov3",
        "vit_base_patch16_dinov3",
    ).means("the network whose layers are looked at (section IV-D)"),
    "head": named("mean", "whole", "selector", "lstm", "selector_lstm", "places").means(
        "what makes one vector out of a layer's activation: its mean, all of it, a trained selector (section IV-D), an "
        "LSTM over a clip's frames, the same behind a selector, or a vector for each place of the picture"
    ),
    "code_size": integer(1).means("length of the code between encoder and decoder (section IV-D)"),
    "layers": integers(0).means(
        "the layers whose features count, by the paper's numbers; () where no stage trains distances. The paper "
        "chooses them per class (Table VII) and does not list them"
    ),
    "formulation": choice("auto", "plain", "rewritten").means(
        "which form of the network computes the same numbers: 'plain' is the readable one, 'rewritten' is faster on a "
        "CPU, 'auto' chooses by the device"
    ),
}
_METHOD = {
    "stages": different("reconstruction", "rotation", "transforms", "pasted", "one_class", "joint").means(
        "the training stages in order; each has settings of its own under its name (section III): pretexts, then "
        "'one_class'; 'joint' is reconstruction and distances at once. () where nothing is trained: with score = "
        "'statistics' or 'motion', or with a distance to statistics of a pretrained encoder's features"
    ),
    "transfer": SWITCH.means("a stage starts from the encoder of the stage before it (section III)"),
    "boundary": named("soft", "hard").means("the one-class loss: 'soft' is Eq. 2, 'hard' Eq. 3"),
    "nu": number(lambda v: 0 <= v <= 1, "a number from 0 to 1, above 0 for the soft boundary").means(
        "allowed share of outliers among the training data (Eqs. 2 and 3; in [0, 0.1], section IV-D)", "share"
    ),
    "layer_reduction": choice("mean", "sum").means("how the layers' losses are put together: 'mean' is Eq. 4"),
    "hard_over_nu": SWITCH.means("the hard boundary's loss is divided by nu, Eq. 3"),
    "radius_warmup_epochs": integer(0).means(
        "how long radii stay 0 at the start of a stage; not in the paper, as published", "epochs"
    ),
    "radius_interval": integer(1).means("how often radii are taken anew: 'at regular intervals' in the paper", "steps"),
    "centroid_push": NOT_NEGATIVE.means(
        "coordinates of centroids nearer to 0 than this are moved to it, by sign; 0 = off. Not in the paper, as "
        "published"
    ),
    "score": choice("distance", "reconstruction", "pretext", "combined", "statistics", "motion").means(
        "what the anomaly score is: the distances (Eq. 6), the error of reconstruction, the loss of another pretext, "
        "or distances and loss (section V-D); or "
        "how far the features of each place are from those of normal images, or its movement from that of normal videos"
    ),
    "score_norm": choice("squared", "l2").means(
        "distances and radii in the score: 'squared' is Eq. 6, 'l2' un-squared, as published for MVTec AD"
    ),
    "distance": choice("centroid", "euclid", "whitened", "neighbours", "cosine").means(
        "what a layer's distance is: to the centroid that training pulled towards (Eq. 6), or, from statistics of all "
        "normal units: to their mean, the Mahalanobis distance, the mean distance to the five nearest, whitened or by "
        "direction alone"
    ),
    "score_views": choice("plain", "mirrored", "turned", "turned_and_mirrored").means(
        "how an image is looked at for distances to statistics: as it is; that and mirrored; turned by each right "
        "angle; each of these mirrored too: the mean over the views counts. With score = 'pretext' or 'combined' the "
        "pretext says"
    ),
}
_TRAINING = {
    "batch_size": integer(1).means("size of a batch (256 for CIFAR-10, section IV-D)", "images, patches or clips"),
    "seed": SEED.means("where random numbers start: initial weights, order, augmentation"),
    "checkpoint_seconds": NOT_NEGATIVE.means("least time between checkpoints", "seconds"),
    "accumulation": integer(1).means("equal parts that a batch is computed in, one after the other, for less memory"),
    "rematerialisation": SWITCH.means("activations are computed again for the gradient, for less memory"),
    "compute_dtype": choice("float32", "bfloat16").means("what convolutions and matrix products are computed in"),
}
FIELDS: dict[str, Field] = {
    **in_group("data", _DATA),
    **in_group("network", _NETWORK),
    **in_group("method", _METHOD),
    **in_group("training", _TRAINING),
}
# Fields that came after the first recorded runs, with the value that changes nothing. A config may lack them, and one
# that has them at this value is the same config: hashes and folders of earlier runs stay good.
LATER: dict[str, Any] = {
    "accumulation": 1,
    "rematerialisation": False,
    "compute_dtype": "float32",
    "normalize": "symmetric",
    "weights": "",
    "fine_layers": (),
    "cell": 16,
    "depth": 0,
    "one_camera": True,
    "score_stride": 1,
    "optimizer": "adam",
    "schedule": "steps",
    "distance": "centroid",
    "score_views": "plain",
    "watched": 0,
    "layer_weights": "equal",
    "enlarged": 0,
    "least_region": 0,
    "tile": 0,
    "overlap": 0,
}

STAGE_FIELDS: dict[str, Field] = in_group(
    "stage",
    {
        "epochs": integer(0).means("how long the stage trains; 0 = not at all", "epochs"),
        "learning_rate": POSITIVE.means("the rate at the start (section IV-D), or the highest of a cycle"),
        "optimizer": choice("adam", "sgd").means("'adam' (section IV-D), or 'sgd' with Nesterov's momentum of 0.9"),
        "schedule": choice("steps", "one_cycle").means(
            "the learning rate falls at milestones, or rises for a fifth of the stage and falls along a cosine"
        ),
        "milestones": integers(1).means("when the rate is divided by ten; () = never", "epochs"),
        "weight_decay": NOT_NEGATIVE.means("lambda of Eq. 4, added to the gradient"),
        "batch_norm": choice("train", "eval").means(
            "what batch-norm normalises by: the batch, or running statistics, which then stay as they are"
        ),
    },
)
