"""The command `mocca check`: every finding on an example, and silence on what only looks like one."""

import shutil

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mocca_jax.commands import check
from mocca_jax.data import films, twins
from mocca_jax.data.findings import Finding
from mocca_jax.errors import UserError
from tests import runs
from tests.runs import save

SIDE = 96


def plate(seed, size=(SIDE, SIDE), hole=None):
    """A disc before a fixed camera, `(columns, rows)`, with noise; all look alike. `hole`: left, top and side."""
    rng = np.random.default_rng(seed)
    picture = Image.new("RGB", size, (90, 95, 100))
    draw = ImageDraw.Draw(picture)
    x, y = (side / 2 + rng.integers(-2, 3) for side in size)
    radius = min(size) * 0.3
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(200, 190, 170))
    if hole:
        left, top, side = hole
        draw.rectangle((left, top, left + side - 1, top + side - 1), fill=(20, 10, 10))
    noisy = np.asarray(picture) + rng.normal(0, 3, (size[1], size[0], 1))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def mask(hole, size=(SIDE, SIDE)):
    left, top, side = hole
    marked = np.zeros(size[::-1], np.uint8)
    marked[top : top + side, left : left + side] = 255
    return Image.fromarray(marked)


def make(folder, train=20, tested=3, size=(SIDE, SIDE), hole=(30, 40, 14)):
    """A folder of plates with masks, in which there is nothing to find."""
    for name in ("train/good", "test/good", "test/hole", "ground_truth/hole"):
        (folder / name).mkdir(parents=True)
    for i in range(train):
        plate(i, size).save(folder / f"train/good/{i:02d}.png")
    for i in range(tested):
        plate(1000 + i, size).save(folder / f"test/good/{i}.png")
        plate(2000 + i, size, hole).save(folder / f"test/hole/{i}.png")
        mask(hole, size).save(folder / f"ground_truth/hole/{i}_mask.png")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check") / "parts"
    make(folder)
    return folder


@pytest.fixture
def plates(sound, tmp_path):
    """A copy to change."""
    return shutil.copytree(sound, tmp_path / "parts")


def expect(folder, *lines, problems=0, notes=0, **fields):
    """That the report has these lines, and so many findings."""
    text, found = check.report(folder, **fields)
    for line in lines:
        assert line in text, text
    assert (found, text.count("\nnote: ")) == (problems, notes), text


def test_a_sound_folder_is_counted_and_nothing_is_found(sound, tmp_path, capsys):
    expect(sound, "train/good: 20 images; width x height 96x96 (20); channels RGB (20)", "masks: 3", "no problems")
    with pytest.raises(SystemExit) as end:
        check.main([str(sound)])
    assert end.value.code == 0 and "test, anomalous: 3" in capsys.readouterr().out
    flat = shutil.copytree(sound / "train/good", tmp_path / "flat")
    expect(flat, "test, normal: 0")


def test_a_problem_ends_with_1_and_a_note_with_0(plates, capsys):
    (plates / "train/good/00.png").unlink()
    (plates / "train/good/01.png").unlink()
    for broken, code in ((False, 0), (True, 1)):
        if broken:
            (plates / "train/good/02.png").write_bytes(b"")
        with pytest.raises(SystemExit) as end:
            check.main([str(plates)])
        assert end.value.code == code and "note: 1 value of alpha" in capsys.readouterr().out


def test_a_finding_shows_ten_names_and_counts_the_others():
    assert str(Finding("file(s) lie", "Mend.", [f"n{i}" for i in range(10)])).endswith("\n  n9")
    text = str(Finding("file(s) lie", "Mend.", [f"n{i}" for i in range(12)], note=True))
    assert text.startswith("note: 12 file(s) lie. Mend.\n  n0\n") and text.endswith("\n  n9\n  ... and 2 more")


@pytest.fixture
def mixed(tmp_path):
    """Images of mixed sizes, modes and formats, under a name with a space and umlauts."""
    return runs.mixed(tmp_path / "meine Prüfteile")


def test_several_kinds_of_problem_are_all_named(mixed):
    expect(mixed, "train/good: 12 images", "test, anomalous: 1", "no problems", notes=3)  # number, grey, shapes
    (mixed / "train/good/empty.png").write_bytes(b"")
    shutil.copy(mixed / "train/good/Teil 1ä.png", mixed / "test/scratch/copy.png")
    save(mixed / "ground_truth/scratch/lonely_mask.png", (40, 40))
    save(mixed / "ground_truth/scratch/b_mask.png", (20, 40))
    (mixed / "train/good/notes.txt").write_text("x")
    lines = (
        "empty.png: it is empty",
        "copy.png = train/good/Teil 1ä.png",
        "lonely_mask",
        "notes.txt",
        "40x20, its image",
    )
    expect(mixed, *lines, problems=6, notes=3)


# Files and folders


def test_files_that_are_not_used_are_named_by_their_reasons(plates):
    for i in range(12):
        (plates / f"train/good/{i}.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 50)
    shutil.copy(plates / "test/good/0.png", plates / "test/direct.png")
    (plates / "train/good/dangling.png").symlink_to(plates / "nowhere")
    shutil.copy(plates / "ground_truth/hole/0_mask.png", plates / "ground_truth/hole/lonely_mask.png")
    lines = ("it looks like a HEIC photograph", "... and 2 more", "not used: directly in test/", "test/direct.png")
    expect(plates, *lines, "a link to nothing", "1 mask(s) belong to no image", "lonely_mask.png", problems=4)


def test_litter_is_silent_and_documents_are_a_note(plates):
    (plates / "train/good/Thumbs.db").write_bytes(b"x")
    (plates / "license.txt").write_text("free")
    expect(plates, "1 document(s) are not used", "license.txt", notes=1)


def test_unreadable_files_and_pages_are_named(plates):
    (plates / "train/good/00.png").write_bytes(b"no picture")
    pages = [plate(1), plate(2)]
    pages[0].save(plates / "train/good/two.tif", save_all=True, append_images=pages[1:])
    expect(plates, "2 file(s) cannot be read", "00.png: it is no picture", "two.tif: it has 2 pages", problems=1)


def test_a_test_set_without_good_or_without_bad_pictures_is_told(plates):
    shutil.move(plates / "test/good", plates / "kept")
    shutil.rmtree(plates / "kept")
    expect(plates, "none of them good. Add test/good", "  test/hole", problems=1)
    (plates / "test/hole").rename(plates / "test/Good")
    shutil.rmtree(plates / "ground_truth")
    expect(plates, "none of them with defects", "  test/Good", notes=1)


def test_a_folder_that_could_be_either_is_an_error_with_its_name(plates):
    (plates / "test/good").rename(plates / "test/goood")
    with pytest.raises(UserError, match="'goood' hold good images or defects"):
        check.report(plates)
    with pytest.raises(SystemExit, match="goood"):
        check.main([str(plates)])


def test_names_are_printed_whatever_they_hold(plates):
    path = bytes(plates) + b"/train/good/caf\xe9\n.png"
    with open(path, "wb"):
        pass
    expect(plates, r"train/good/caf\xe9\n.png: it is empty", problems=1)


# Number


@pytest.mark.parametrize("alpha, least", [("0.01", "0.01 takes 99; 20 allow 0.0476"), ("0.045", "0.045 takes 22; 20")])
def test_too_few_pictures_for_alpha_are_a_note_with_the_smallest_share(sound, alpha, least):
    expect(sound, f"alpha = {least}", notes=1, alpha=alpha)


def test_an_alpha_that_the_number_allows_is_silent_and_nonsense_an_error(sound):
    expect(sound, alpha="0.05")
    for alpha in ("2", "five"):
        with pytest.raises(UserError, match=r"alpha = .*a number between 0 and 1"):
            check.report(sound, alpha=alpha)


def test_one_readable_picture_is_too_few(tmp_path):
    plate(0).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"")
    expect(tmp_path, "training set is too small", "1 of 2 files can be read", problems=2)


# Masks


def replaced(plates, image):
    image.save(plates / "ground_truth/hole/0_mask.png")


@pytest.mark.parametrize(
    "pixels, said",
    [
        (np.zeros((SIDE, SIDE)), "nothing is marked"),
        (np.full((SIDE, SIDE), 255), "everything is marked"),
        (255 - np.asarray(mask((30, 40, 14))), "98% is marked: is it inverted?"),
    ],
)
def test_masks_that_can_hardly_be_meant_so_are_problems(plates, pixels, said):
    replaced(plates, Image.fromarray(pixels.astype(np.uint8)))
    expect(plates, "1 mask(s) can hardly be meant so", f"hole/0_mask.png: {said}", problems=1)


def test_a_mask_of_a_good_picture_may_mark_nothing(plates):
    (plates / "ground_truth/good").mkdir()
    mask((0, 0, 0)).save(plates / "ground_truth/good/0_mask.png")
    expect(plates)
    mask((30, 40, 14)).save(plates / "ground_truth/good/0_mask.png")
    expect(plates, "ground_truth/good/0_mask.png: 2.1% of a good image is marked", problems=1)


def test_masks_that_cannot_be_read_or_have_another_shape_are_problems(plates):
    replaced(plates, mask((30, 40, 14)).resize((SIDE // 2, SIDE // 2)))
    expect(plates)  # the ratio of the sides is the same
    replaced(plates, mask((30, 40, 14)).crop((0, 0, SIDE, SIDE // 2)))
    (plates / "ground_truth/hole/1_mask.png").write_bytes(b"no mask")
    lines = ("0_mask.png: 96x48, its image 96x96", "1_mask.png: it is no picture")
    expect(plates, *lines, problems=2)


def test_a_missing_mask_is_named_where_others_have_one(plates):
    (plates / "ground_truth/hole/0_mask.png").unlink()
    expect(plates, "1 anomalous test image(s) have no mask", "test/hole/0.png", problems=1)
    shutil.rmtree(plates / "ground_truth")
    expect(plates)


def test_lossy_masks_are_a_note(plates):
    (plates / "ground_truth/hole/0_mask.png").unlink()
    mask((30, 40, 14)).save(plates / "ground_truth/hole/0_mask.jpg")
    expect(plates, "1 mask(s) are lossy", "0_mask.jpg: JPEG", notes=1)


@pytest.mark.parametrize("side, notes", [(2, 1), (4, 1), (8, 0)])
def test_defects_smaller_than_the_view_sees_are_a_note(tmp_path, side, notes):
    make(tmp_path / "parts", tested=1, size=(1000, 1000), train=2, hole=(500, 400, side))
    said = ["smaller than the network sees", "of 256x256"] if notes else []
    expect(tmp_path / "parts", *said, notes=1 + notes)  # and few pictures


# Depth and color


def deep(folder, bits, count=20, kind="train/good", first=0):
    """Pictures of 16 bits whose values take so many."""
    for i in range(first, first + count):
        grey = np.asarray(plate(i).convert("L"), np.uint16)
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.fromarray(grey << (bits - 8)).save(folder / kind / f"{i:02d}.png")
    return folder


@pytest.mark.parametrize("bits, depth", [(8, 8), (9, 10), (10, 10), (12, 12), (13, 14), (14, 14)])
def test_the_depth_that_a_camera_uses_is_named_with_the_remedy(tmp_path, bits, depth):
    deep(tmp_path, bits)
    said = (
        f"20 training picture(s) of 16 bits, whose largest value takes {bits}. If the camera has {depth}, train with "
    )
    left_out = "copies: few levels of grey are left"
    expect(tmp_path, f"{said}depth={depth} (--config.depth={depth})", left_out, problems=1, notes=1)
    expect(tmp_path, depth=str(depth))


def test_values_of_all_16_bits_are_silent_also_where_some_pictures_are_a_little_dark(tmp_path):
    deep(deep(tmp_path, 16), 13, count=5, first=20)
    expect(tmp_path)
    deep(tmp_path, 12, count=2, first=20)
    lines = ("2 training picture(s) of 16 bits, whose values take 4 or more bits fewer than the 16", "20.png: 12")
    expect(tmp_path, *lines, notes=1)


def test_values_beyond_the_depth_are_unreadable(tmp_path):
    expect(deep(tmp_path, 16, count=3), "depth = 12 has room for 0 to 4095", problems=2, depth="12")


def test_two_depths_in_training_are_a_problem(tmp_path):
    deep(tmp_path, 16)
    for i in range(3):
        plate(30 + i).convert("L").save(tmp_path / f"train/good/{30 + i}.png")
    expect(tmp_path, "3 training picture(s) of 8 bits, beside others of 16", "train/good/30.png", problems=1)


@pytest.mark.parametrize(
    "train, test, said",
    [
        (16, 8, "test/good/50.png: 8 bits"),
        (8, 16, "test/good/50.png: 16 bits, 16 used"),
        (12, 16, "test/good/50.png: 16 bits, 16 used"),
        (16, 12, "test/good/50.png: 16 bits, 12 used"),
        (16, 15, None),
        (12, 11, None),
        (8, 8, None),
    ],
)
def test_a_test_set_of_another_depth_is_a_problem(tmp_path, train, test, said):
    for bits, kind, first, count in ((train, "train/good", 0, 20), (test, "test/good", 50, 2)):
        deep(tmp_path, bits, count, kind, first)
        if bits == 8:
            for path in (tmp_path / kind).iterdir():
                Image.open(path).convert("L").save(path)
    lines = ["2 test picture(s) of another depth", said] if said else []
    dark = train == 12 or test == 12  # so that copies are not looked for
    expect(tmp_path, *lines, problems=int(train == 12) + bool(said), notes=1 + dark)  # no test picture has a defect


def test_grey_beside_color_is_a_note_whatever_the_mode(plates):
    plate(0).convert("RGBA").save(plates / "train/good/00.png")
    expect(plates)
    plate(0).convert("L").convert("RGB").save(plates / "train/good/00.png")
    expect(plates, "1 picture(s) grey, beside others in color", "train/good/00.png", notes=1)


def test_good_pictures_of_a_single_color_are_problems(plates):
    Image.new("RGB", (SIDE, SIDE)).save(plates / "train/good/00.png")
    Image.new("RGB", (SIDE, SIDE), "white").save(plates / "test/good/0.png")
    Image.new("RGB", (SIDE, SIDE), (9, 8, 7)).save(plates / "train/good/01.png")
    lines = ("3 good picture(s) of a single color", "00.png: black", "0.png: white", "blue = (9, 8, 7)")
    expect(plates, *lines, problems=1)


def test_a_defect_may_be_a_single_color(plates):
    Image.new("RGB", (SIDE, SIDE)).save(plates / "test/hole/0.png")
    expect(plates, "1 picture(s) with defects are of a single color", "test/hole/0.png: black", notes=1)


# Sizes


def test_shapes_that_are_stretched_too_much_are_problems_and_a_little_notes(plates):
    plate(0, (SIDE + 4, SIDE)).save(plates / "train/good/00.png")
    expect(plates)
    plate(0, (SIDE + 10, SIDE)).save(plates / "train/good/00.png")
    expect(plates, "stretched a little", "00.png: 106x96", notes=1)
    plate(0, (SIDE, 130)).save(plates / "test/good/0.png")
    expect(plates, "stretched by more than 25%", "test/good/0.png: 96x130", problems=1, notes=1)


def test_another_resolution_is_a_problem(plates):
    plate(0, (140, 140)).save(plates / "train/good/00.png")
    expect(plates)
    plate(0, (192, 192)).save(plates / "train/good/00.png")
    plate(1, (48, 48)).save(plates / "train/good/01.png")
    expect(plates, "larger or smaller than the usual 96x96", "00.png: 192x192", "01.png: 48x48", problems=1)


def test_extreme_sides_are_a_problem(plates):
    save(plates / "train/good/thin.png", (6000, 2, 3))
    expect(plates, "one side more than 8 times the other", "thin.png: 2x6000", problems=1)


# Copies


def test_the_same_picture_is_named_within_training_across_and_in_the_test_set(plates):
    for source, target in (
        ("train/good/00.png", "train/good/copy.png"),
        ("train/good/01.png", "test/good/leaked.png"),
        ("test/good/0.png", "test/hole/contrary.png"),
        ("test/good/1.png", "test/good/again.png"),
    ):
        shutil.copy(plates / source, plates / target)
    mask((30, 40, 14)).save(plates / "ground_truth/hole/contrary_mask.png")
    lines = (
        "1 picture(s) are more than once in training",
        "  train/good/00.png = train/good/copy.png\n",
        "1 test image(s) are also in train/good",
        "  test/good/leaked.png = train/good/01.png\n",
        "1 picture(s) are in several classes of test/",
        "  test/good/0.png = test/hole/contrary.png\n",
        "1 picture(s) are more than once in a class of test/",
        "  test/good/1.png = test/good/again.png\n",
    )
    expect(plates, *lines, problems=4)


def test_many_copies_of_one_picture_are_one_line(plates):
    for i in range(5):
        shutil.copy(plates / "train/good/00.png", plates / f"train/good/copy{i}.png")
    lines = ("1 picture(s) are more than once", "00.png = train/good/copy0.png = train/good/copy1.png and 3 more\n")
    expect(plates, *lines, problems=1)


TURNS = {name: getattr(Image.Transpose, name) for name in ("ROTATE_90", "ROTATE_180", "ROTATE_270", "FLIP_LEFT_RIGHT")}
SAVED = {
    "60.jpg": {"quality": 60},
    "75.jpg": {"quality": 75},
    "95.jpg": {"quality": 95},
    "bmp": {},
    "80.webp": {"quality": 80},
}


def test_copies_turned_and_saved_anew_are_found_where_all_pictures_look_alike(plates):
    expected = []
    for number, (name, turn) in enumerate(TURNS.items()):
        with Image.open(plates / f"train/good/{number:02d}.png") as picture:
            picture.transpose(turn).save(plates / f"test/good/{name}.png")
        expected.append(f"test/good/{name}.png = train/good/{number:02d}.png, turned or saved anew")
    for number, (ending, how) in enumerate(SAVED.items(), 5):
        with Image.open(plates / f"train/good/{number:02d}.png") as picture:
            picture.save(plates / f"test/good/saved.{ending}", **how)
        exact = ending == "bmp"
        expected.append(f"saved.{ending} = train/good/{number:02d}.png" + ("\n" if exact else ", turned or saved anew"))
    with Image.open(plates / "train/good/15.png") as picture:
        picture.transpose(Image.Transpose.TRANSPOSE).save(plates / "test/good/both.jpg", quality=75)
    expected.append("test/good/both.jpg = train/good/15.png, turned or saved anew")
    expect(plates, "10 test image(s) are also in train/good", *expected, problems=1)


def test_copies_are_found_in_training_and_across_classes_and_where_no_side_is_equal(tmp_path):
    make(tmp_path / "parts", size=(60, 96), hole=(20, 40, 14))
    with Image.open(tmp_path / "parts/train/good/00.png") as picture:
        picture.rotate(90, expand=True).resize((96, 60)).save(tmp_path / "parts/train/good/turned.jpg", quality=90)
    with Image.open(tmp_path / "parts/test/good/0.png") as picture:
        picture.save(tmp_path / "parts/test/hole/0.jpg", quality=90)
    shutil.rmtree(tmp_path / "parts/ground_truth")
    lines = ("00.png = train/good/turned.jpg, turned", "test/good/0.png = test/hole/0.jpg, turned or saved anew")
    expect(tmp_path / "parts", *lines, problems=3)  # and the turned one is of another shape


@pytest.mark.parametrize("quality", [60, 90])
def test_different_pictures_of_one_still_scene_are_no_copies(plates, quality):
    """They differ by noise alone; half are compressed, which takes much of the noise away."""
    still = np.asarray(plate(0)).astype(float)
    for i, path in enumerate(sorted(plates.glob("t*/good/*.png"))):
        noisy = still + np.random.default_rng(i).normal(0, 2, still.shape[:2])[..., None]
        picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
        path.unlink()
        picture.save(path.with_suffix(".jpg"), quality=quality) if i % 2 else picture.save(path)
    expect(plates)


def test_a_defect_put_into_a_picture_makes_another_one(plates):
    plate(1000, hole=(30, 40, 14)).save(plates / "test/hole/0.png")  # as test/good/0.png, but for the hole
    expect(plates)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_jpeg_copies_that_are_turned_by_their_metadata_are_found(plates, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    with Image.open(plates / "train/good/04.png") as picture:
        picture.save(plates / "test/good/a.jpg", exif=exif, quality=60, subsampling=orientation % 3)
    expect(plates, "test/good/a.jpg = train/good/04.png, turned or saved anew", problems=1)


def test_copies_of_noise_are_found(tmp_path):
    for i in range(20):
        save(tmp_path / f"train/good/{i}.png", seed=i)
    (tmp_path / "test/good").mkdir(parents=True)
    with Image.open(tmp_path / "train/good/3.png") as picture:
        picture.save(tmp_path / "test/good/a.jpg", quality=60)
    expect(tmp_path, "test/good/a.jpg = train/good/3.png, turned or saved anew", problems=1, notes=1)


def test_small_copies_turn_with_their_pictures():
    picture = plate(5, (70, 101))
    turned = twins.small(picture.transpose(Image.Transpose.ROTATE_90))
    np.testing.assert_allclose(turned, np.rot90(twins.small(picture)), atol=0.13)
    assert twins.pairs([], np.zeros((0, 128, 128)), []) == []


@pytest.mark.parametrize(
    "pixels, levels, said", [(0, 0, "the same picture"), (1, 1, "nearly the same picture"), (8, 4, "nearly the same")]
)
def test_a_training_set_of_one_picture_is_one_finding(plates, pixels, levels, said):
    """Each picture differs in so many pixels by so many levels of grey."""
    for i, path in enumerate(sorted(plates.glob("train/good/*.png"))):
        changed = np.array(plate(0))
        changed[i, i : i + pixels] ^= levels
        Image.fromarray(changed).save(path)
    expect(plates, f"20 of 20 training pictures are {said}", "... and 10 more", problems=1)


def test_half_of_a_training_set_being_one_picture_is_told_and_less_are_copies(plates):
    for i in range(1, 11):
        shutil.copy(plates / "train/good/00.png", plates / f"train/good/{i:02d}.png")
    expect(plates, "11 of 20 training pictures are the same picture", problems=1)
    for i in range(5, 11):
        plate(50 + i).save(plates / f"train/good/{i:02d}.png")
    expect(plates, "1 picture(s) are more than once in training", problems=1)


# Videos


def test_films_beside_good_pictures_are_not_used(plates):
    film(plates / "a.avi")
    expect(plates, "1 file(s) are not used: a film", "  a.avi", problems=1)


def frames(folder, count=20, seed=0, size=(64, 48), first=0, step=1):
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        save(folder / f"{first + i * step:03d}.png", (size[1], size[0], 3), seed=1000 * seed + i)


@pytest.fixture
def campus(tmp_path):
    """Videos with labels, in which there is nothing to find."""
    folder = tmp_path / "campus"
    for seed, name in enumerate(("training/frames/01", "training/frames/02", "testing/frames/03", "testing/frames/04")):
        frames(folder / name, seed=seed)
    (folder / "testing/test_frame_mask").mkdir()
    for name in ("03", "04"):
        np.save(folder / f"testing/test_frame_mask/{name}.npy", np.arange(20) // 10)
    return folder


def film(path, count=20, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    films.write(path, [rng.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(count)], 10)


def test_sound_videos_are_counted(campus, tmp_path):
    lines = ("train: 2 videos, 40 frames; width x height 64x48 (40)", "test: 2 videos, 40 frames", "no problems")
    expect(campus, *lines, "layout: shanghaitech")
    for name in ("a", "b"):
        film(tmp_path / f"films/{name}.avi", seed=ord(name))
    expect(tmp_path / "films", "train: 2 videos, 40 frames", "test: 0 videos", "layout: folder")


def test_films_that_are_torn_broken_short_or_twice_are_problems(tmp_path):
    for i in range(3):
        film(tmp_path / f"train/{i}.avi", seed=i)
    film(tmp_path / "test/short.avi", count=5, seed=9)
    shutil.copy(tmp_path / "train/0.avi", tmp_path / "test/copy.avi")
    shutil.copy(tmp_path / "train/1.avi", tmp_path / "train/again.avi")
    torn = (tmp_path / "train/2.avi").read_bytes()
    (tmp_path / "train/2.avi").write_bytes(torn[: len(torn) * 9 // 10])
    (tmp_path / "train/none.avi").write_bytes(b"no film")
    (tmp_path / "notes.txt").write_text("x")
    lines = (
        "  train/none.avi: no frame of it can be read",
        "  train/2.avi ends after 18 of 20 frames",
        "1 file(s) are not used: it is no picture",
        "  test/short.avi: 5 frames",
        "  train/1.avi = train/again.avi",
        "  test/copy.avi = train/0.avi",
        "note: 2 test video(s), and labels for none of them",
    )
    expect(tmp_path, *lines, problems=6, notes=1)


def test_large_pictures_are_noted_and_what_tiles_take_is_told(plates):
    for seed, path in enumerate(sorted((plates / "train/good").glob("*.png"))):
        save(path, (1100, 1024, 3), seed)
    shutil.rmtree(plates / "test")
    shutil.rmtree(plates / "ground_truth", ignore_errors=True)
    said = "note: 20 picture(s) at least 4 times as wide and high as the 256x256 that the network sees. Small defects"
    expect(plates, said, "--config=folder:tiled", "1024x1100", notes=1)
    expect(plates, "no problems", tile="256")
    expect(plates, "20 picture(s) smaller than a tile of 1040x1040", problems=1, tile="1040")


def test_frames_that_are_broken_missing_or_of_several_sizes_are_problems(campus):
    (campus / "training/frames/01/005.png").write_bytes(b"")
    save(campus / "training/frames/02/007.png", (20, 30, 3))
    (campus / "testing/frames/03/004.png").unlink()
    frames(campus / "testing/frames/03", 1, seed=8, first=20)
    lines = (
        "  training/frames/01/005.png: it is empty",
        "  training/frames/02: 64x48 (19), 30x20 (1)",
        "  testing/frames/03: before 005.png",
    )
    expect(campus, *lines, problems=3)


@pytest.mark.parametrize("steps", [[10] * 19, [7, 13, 2, 40, 5, 9, 21, 3, 17, 4, 8, 6, 1, 30, 11, 19, 12, 15, 14]])
def test_numbers_that_count_something_else_have_no_gaps(campus, steps):
    for old, number in zip(
        sorted((campus / "training/frames/01").iterdir())[::-1], np.cumsum([0, *steps])[::-1], strict=True
    ):
        old.rename(old.with_name(f"t{number:06d}.png"))
    expect(campus)


def test_labels_that_cannot_be_used_are_problems(campus):
    np.save(campus / "testing/test_frame_mask/03.npy", np.arange(19) % 2)
    (campus / "testing/test_frame_mask/04.npy").unlink()
    lines = ("testing/test_frame_mask/03.npy: labels of shape (19,)", "testing/test_frame_mask/04.npy: missing")
    expect(campus, "2 test video(s) whose labels cannot be used", *lines, problems=1)


@pytest.mark.parametrize("label, problems, notes", [(1, 1, 0), (0, 0, 1)])
def test_labels_that_are_all_alike_give_no_auc(campus, label, problems, notes):
    for name in ("03", "04"):
        np.save(campus / f"testing/test_frame_mask/{name}.npy", np.full(20, label))
    expect(campus, f"no {'normal' if label else 'anomalous'} frame in them", problems=problems, notes=notes)


def test_labels_of_some_videos_alone_are_a_problem_and_of_none_a_note(tmp_path):
    for seed, name in enumerate(("Train/Train001", "Train/Train002", "Test/Test001", "Test/Test002")):
        frames(tmp_path / name, seed=seed)
    expect(tmp_path, "layout: ucsd", "labels for none of them", notes=1)
    (tmp_path / "Test/Test001_gt").mkdir()
    for i in range(20):
        mask((5, 5, 10 * (i > 9)), (64, 48)).save(tmp_path / f"Test/Test001_gt/{i:03d}.bmp")
    expect(tmp_path, "1 test video(s) without labels, beside others", "  Test/Test002", problems=1)


@pytest.mark.parametrize("count, problems, notes", [(20, 1, 0), (100, 0, 1)])
def test_a_lone_training_video_is_told(tmp_path, count, problems, notes):
    film(tmp_path / "a.avi", count)
    expect(tmp_path, "1 training video is alone", f"a.avi: {count} frames", problems=problems, notes=notes)


def test_videos_without_training_ones_or_of_another_shape_are_told(campus):
    frames(campus / "training/frames/02", seed=1, size=(64, 64))
    expect(campus, "training/frames/02: 64x64, others 64x48", problems=1)
    for path in [*campus.glob("training/frames/*/*.png")]:
        path.unlink()
    expect(campus, "training set is empty", problems=1)
