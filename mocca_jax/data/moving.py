"""Splits of videos whose units are cells of optical flow, one for each frame."""

from collections.abc import Sequence

import numpy as np

from mocca_jax.data import Dataset, Split
from mocca_jax.data.clips import Video
from mocca_jax.data.inputs import Inputs
from mocca_jax.errors import UserError
from mocca_jax.method import motion, over_time
from mocca_jax.method.timeline import Timeline

PARTS = 4  # a video is cut into as many where there are fewer
LEAST = 4 * over_time.mean(9).before  # frames of a part
