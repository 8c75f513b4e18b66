"""The fields that only some data sets have: of each what it means, its unit, what it may hold, its group."""

from mocca_jax.config.rules import (
    BETWEEN_0_AND_1,
    FROM_0_TO_BELOW_1,
    INTERVAL,
    NOT_NEGATIVE,
    SEED,
    SWITCH,
    TEXT,
    Field,
    choice,
    in_group,
    integer,
    integer_or_0,
    integers,
    named,
    rows_and_columns,
    rows_and_columns_or_0,
    several,
    several_of,
)

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
    "layer_weights": choice("equal", "made_up").means(
        "how much each layer's distance to statistics counts: alike, or by how well it alone tells watched images from "
        "the same with a made-up defect"
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
_IMAGES = _PICTURES | in_group("network", _PRETRAINED) | in_group("anomaly maps", _MAPS)
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
_VIDEO = {**_FRAMES, **in_group("network", _RECURRENT), **in_group("method", _WEIGHTS)}
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
