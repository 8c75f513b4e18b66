"""Scores of frames: means over clips, scaling, videos that are still running."""

import numpy as np
import pytest

from mocca_jax.data import clips
from mocca_jax.errors import UserError
from mocca_jax.method import frames, timeline
from mocca_jax.scoring.streaming import FrameScorer


def timeline_of(lengths, clip_length, stride=1):
    videos = [clips.Video(str(i), 0, n) for i, n in enumerate(lengths)]
    frames = np.zeros((max(lengths), 1, 1, 1), np.uint8)
    return clips.clips_to_score(frames, videos, clip_length, stride).timeline


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
def test_a_frame_has_the_mean_of_all_clips_that_contain_it(rng, stride):
    where = timeline_of([7, 4, 12], 4, stride)
    scores = rng.normal(size=len(where.start))
    expected = []
    for video, length in enumerate(where.lengths):
        for frame in range(length):
            inside = (where.video == video) & (where.start <= frame) & (frame < where.start + 4)
            expected.append(scores[inside].mean())
    np.testing.assert_allclose(frames.mean_over_clips(scores, where), expected, rtol=1e-12)
    with pytest.raises(ValueError, match="3 scores for"):
        frames.mean_over_clips(scores[:3], where)


def test_scaling_is_per_video_and_a_constant_video_gives_zeros():
    values, lengths = np.array([1.0, 3.0, 2.0, 5.0, 5.0]), np.array([3, 2])
    assert frames.per_video(values, lengths).tolist() == [0, 1, 0.5, 0, 0]
    assert frames.causal(values, lengths).tolist() == [0, 1, 0.5, 0, 0]
    assert frames.causal(np.array([4.0, 2.0, 3.0, 9.0]), np.array([4])).tolist() == [0, 0, 0.5, 1]


def test_causal_scaling_does_not_know_the_future(rng):
    values = rng.normal(size=30)
    whole = frames.causal(values, np.array([30]))
    np.testing.assert_array_equal(frames.causal(values[:20], np.array([20])), whole[:20])


def test_micro_and_macro_are_what_they_say():
    """Two videos, each perfectly ranked, on scales that do not match."""
    scores, labels = np.array([1.0, 2.0, 10.0, 20.0, 7.0]), np.array([0, 1, 0, 1, -1])
    row = frames.table({"x": [scores]}, labels, np.array([2, 3]))["x"]
    assert row["macro"] == 1.0 and row["micro_unscaled"] == 0.75 and row["micro_per_video"] == 1.0


@pytest.mark.parametrize(
    "length, stride, starts",
    [
        (4, 1, [0]),
        (4, 4, [0]),
        (5, 4, [0, 1]),
        (7, 1, [0, 1, 2, 3]),
        (8, 4, [0, 4]),
        (8, 3, [0, 3, 4]),
        (9, 3, [0, 3, 5]),
        (10, 3, [0, 3, 6]),
        (10, 2, [0, 2, 4, 6]),
    ],
)
def test_clips_begin_every_so_many_frames_and_the_last_ends_with_the_video(rng, length, stride, starts):
    assert timeline.starts(length, 4, stride).tolist() == starts
    video = rng.normal(size=(length, 2, 2, 1))
    found = list(clips.of_running(iter(video), 4, stride))
    assert [start for start, _ in found] == starts
    for start, clip in found:
        np.testing.assert_array_equal(clip, video[start : start + 4])
    split = clips.clips_to_score(video, [clips.Video("v", 0, length)], 4, stride)
    np.testing.assert_array_equal(split.images[np.arange(len(split))], [clip for _, clip in found])
    assert len(split.samples) == len(split.labels) == length


@pytest.mark.parametrize("length, stride", [(3, 1), (9, 0), (9, 5)])
def test_clips_that_would_leave_a_frame_out_are_refused(length, stride):
    with pytest.raises(ValueError, match=f"every {stride}, in a video of {length}"):
        timeline.starts(length, 4, stride)
    with pytest.raises(UserError, match="a video of 3 frames; this model looks at clips of 4"):
        list(clips.of_running(iter(np.zeros((3, 1))), 4, 2))
    for wrong in (0, 5):
        with pytest.raises(ValueError, match=f"stride = {wrong}: it is from 1 to the length of a clip, 4"):
            FrameScorer(float, 4, wrong)


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("length", [4, 5, 6, 7, 8, 20, 21])
def test_scores_of_a_running_video_are_those_of_the_whole(rng, length, stride):
    video = rng.normal(size=(length, 2, 2, 1))

    def score(clip):
        return float((clip[0] * clip[-1]).sum())

    scorer = FrameScorer(score, 4, stride)
    assert scorer.lag == (3 if stride == 1 else 4)
    found, widest = [], 0
    for index, frame in enumerate(video):
        fresh = scorer.push(frame)
        assert [i for i, _ in fresh] == [index - scorer.lag] * (index >= scorer.lag)
        found += fresh
        widest = max(widest, len(scorer._frames), len(scorer._clips))
    found += scorer.end()
    whole = timeline_of([length], 4, stride)
    clip_scores = np.array([score(video[s : s + 4]) for s in whole.start])
    assert [i for i, _ in found] == list(range(length)) and widest <= 4
    np.testing.assert_allclose([s for _, s in found], frames.mean_over_clips(clip_scores, whole))
    with pytest.raises(ValueError, match="ended after 0 frames"):
        scorer.end()
