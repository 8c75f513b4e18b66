"""The fields of a config: of each what it means, its unit, what it may hold, and the group it is shown in.

One table for everything that speaks of fields: the check before a run, `mocca config`, docs/config.md. Defaults are
what the files in `configs/` say. Sections, equations and tables are the paper's.
"""

from typing import Any

from mocca_jax.config.rules import (
    BETWEEN_0_AND_1,
    FROM_0_TO_BELOW_1,
    INTERVAL,
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    SWITCH,
    TEXT,
    Field,
    choice,
    different,
    integer,
    integer_or_0,
    integers,
    named,
    number,
    rows_and_columns,
    rows_and_columns_or_0,
    several,
    several_of,
)

GROUPS = ("data", "network", "method", "anomaly maps", "training", "stage")


def _in(group: str, fields: dict[str, Field]) -> dict[str, Field]:
    return {name: field._replace(group=group) for name, field in fields.items()}


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
    "head": named("mean", "selector", "lstm", "selector_lstm", "places").means(
        "what makes one vector out of a layer's activation: its mean, a trained selector (section IV-D), an LSTM over "
        "a clip's frames, the same behind a selector, or a vector for each place of the picture"
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
    "score_views": choice("plain", "turned", "turned_and_mirrored").means(
        "how an image is looked at for distances to statistics: as it is; turned by each right angle; that, and "
        "mirrored too: the mean over the views counts. With score = 'pretext' or 'combined' the pretext says"
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
    **_in("data", _DATA),
    **_in("network", _NETWORK),
    **_in("method", _METHOD),
    **_in("training", _TRAINING),
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
    "enlarged": 0,
    "least_region": 0,
    "tile": 0,
    "overlap": 0,
}

_HELD_OUT = {
    "heldout_fraction": FROM_0_TO_BELOW_1.means(
        "how many of the normal training images, or of the videos and at least one, are held out: nothing is trained "
        "on them, they give threshold and p-values",
        "share",
    ),
    "split_seed": SEED.means("which images or videos are held out, and where anomalies are made up in them"),
    "alpha": BETWEEN_0_AND_1.means("how many of the good samples the threshold may flag", "share"),
}
_NORMALIZE = choice("symmetric", "lite", "imagenet").means(
    "how grey levels become the network's input: -1 to 1, or as a pretrained encoder wants them"
)
_WEIGHTS_FILE = TEXT.means(
    "a .pth, .safetensors or .npz file with the weights of a pretrained encoder; '' for those that are installed"
)
_CLASSES = {
    "normal_class": integer(0, 9).means(
        "the class that is normal, the others are anomalies (section IV-A); of synthetic images the seed"
    ),
    "scaling": choice("published", "data", "none").means(
        "CIFAR-10: values are scaled to [0, 1] (section IV-A) by the extremes that the published program has for the "
        "class, or by those of the training images; 'none': no contrast normalization, values from -1 to 1"
    ),
}
_CIFAR10 = {
    **_CLASSES,
    "normalize": _NORMALIZE,
    "weights": _WEIGHTS_FILE,
    "watched": integer(0).means(
        "how many training images are not trained on, but watched: the learning curve is told on them, and what "
        "distances to statistics usually are",
        "images",
    ),
    "enlarged": integer_or_0(8).means(
        "side that images are enlarged to before the network sees them, for pretrained encoders; 0 = as they are",
        "pixels",
    ),
}
_PICTURES = {
    "resize": integer_or_0(8).means("shorter side of an image (section IV-B); 0 = as it is, for tiles", "pixels"),
    "fit": choice("crop", "stretch").means(
        "whole images of unequal sides: the central square, or all of the image with its sides made equal"
    ),
    "patch": integer(0).means(
        "side of the patches that an image is cut into (section IV-B, Eq. 7); 0 = whole images", "pixels"
    ),
    "rotation": INTERVAL.means("training images are turned by an angle between these (section IV-B)", "degrees"),
    "repeats": integer(1).means("how often each image is drawn per epoch, each time augmented afresh"),
    **_HELD_OUT,
    "depth": integer_or_0(8, 16).means(
        "how many bits count in images of more than 8, such as 12 for cameras that store 12 in files of 16; 0 = as the "
        "file says",
        "bits",
    ),
    "unreadable": choice("error", "skip").means("what an image that cannot be read does: end the run, or be left out"),
}
_MAPS = {
    "maps": several(
        "features", "positions", "scaled_positions", "gradient", "patches", "reconstruction", "statistics"
    ).means(
        "methods of anomaly maps to compare; the one that best tells made-up defects on held-out images from good ones "
        "of a next day is used"
    ),
    "map_stride": integer(1).means(
        "distance between the patches that a map of the method 'patches' is made of", "pixels"
    ),
    "least_region": integer(0).means(
        "smaller anomalous regions are left out, but for the largest of a flagged picture; in the picture as it came",
        "pixels",
    ),
    "overlays": integer(0).means("how many test images are drawn with their map, the most anomalous first", "images"),
}
_PRETRAINED = {
    "normalize": _NORMALIZE,
    "weights": _WEIGHTS_FILE,
    "fine_layers": integers(0).means("score = 'statistics': the layers that are compared in cells half as large"),
    "cell": integer(1).means("score = 'statistics': side of the cells that all layers are compared in", "pixels"),
    "tile": integer(0).means(
        "score = 'statistics': side of the tiles that a large image is looked at in, a multiple of cell; all places of "
        "all tiles share their statistics, as in textures; 0 = the whole image at once",
        "pixels",
    ),
    "overlap": integer(0).means(
        "how far neighboring tiles reach into each other, a multiple of cell and at most half a tile; their maps are "
        "blended there",
        "pixels",
    ),
}
_IMAGES = _PICTURES | _in("network", _PRETRAINED) | _in("anomaly maps", _MAPS)
_FRAMES = {
    "frame_size": rows_and_columns_or_0(8).means(
        "rows and columns of a frame, divisible by 32 (256x512, section IV-C); (0, 0) with score = 'motion': as the "
        "videos are, halved until no side is longer than 640",
        "pixels",
    ),
    "gray": SWITCH.means("frames are gray, with one channel"),
    "frame_differences": choice("none", "signed", "absolute", "flow").means(
        "each frame less the one before is the input, or the optical flow between them, two channels"
    ),
    "clip_length": integer(2).means("length of a clip (16, section IV-C)", "frames"),
    "clip_stride": integer(1).means("distance between the beginnings of the clips that training draws from", "frames"),
    "clips_per_epoch": integer(1).means("how many clips an epoch draws", "clips"),
    "score_stride": integer(1).means(
        "distance between the beginnings of the clips that are scored, at most clip_length; the last clip ends with "
        "the video. A frame's score is the mean over the clips that contain it: all of them with 1 (section V-D)",
        "frames",
    ),
    **_HELD_OUT,
    "planted": several_of("speed2", "speed3", "slow", "still", "backwards", "object", "run", "large").means(
        "anomalies that are made up in the held-out videos, to choose settings by"
    ),
}
_RECURRENT = {
    "lstm_size": integer(1).means("LSTM heads: hidden values in each direction"),
    "lstm_layers": integer(1).means("LSTM heads: layers"),
    "lstm_bidirectional": SWITCH.means("LSTM heads: in both directions of time"),
    "lstm_dropout": FROM_0_TO_BELOW_1.means("LSTM heads: how much is dropped between layers, in training", "share"),
    "cells": rows_and_columns(1).means(
        "head 'places': rows and columns that a layer's map is averaged down to", "places"
    ),
}
_WEIGHTS = {
    "reconstruction_weight": NOT_NEGATIVE.means(
        "weight of the reconstruction error beside the one-class loss, in the stage 'joint' (section V-D)"
    )
}
_VIDEO = {**_FRAMES, **_in("network", _RECURRENT), **_in("method", _WEIGHTS)}
_CATEGORIES = named(
    *("carpet", "grid", "leather", "tile", "wood", "bottle", "hazelnut", "metal_nut", "screw"),
    *("capsule", "toothbrush", "cable", "pill", "transistor", "zipper"),
)
_LAYOUTS = choice("auto", "shanghaitech", "ucsd", "folder")
DATA_FIELDS: dict[str, dict[str, Field]] = {  # data sets, modules of mocca_jax.data, and the fields that only they have
    "cifar10": _CIFAR10,
    "digits": _CLASSES,
    "synthetic": _CLASSES,
    "folder": _IMAGES,
    "mvtec": {"category": _CATEGORIES.means("the category, a folder in data_dir (section IV-B)"), **_IMAGES},
    "moving": {"videos": integer(2).means("how many videos are made up to train on", "videos"), **_VIDEO},
    "video": {
        "one_camera": SWITCH.means(
            "score = 'motion': videos that do not look as if they were of one camera end the run; False: they are taken"
        ),
        "layout": _LAYOUTS.means("how the videos lie in data_dir; 'auto' looks"),
        "foreground": SWITCH.means("frames without their background, see mocca_jax.data.background (section IV-C)"),
        **_VIDEO,
    },
}
STAGE_FIELDS: dict[str, Field] = _in(
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
