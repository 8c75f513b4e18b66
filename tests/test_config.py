"""The table of fields, configs found by name, fields as they are typed, the command and the page made of them."""

import os
import re
import subprocess
import sys
import time

import pytest
from ml_collections import ConfigDict

from experiments import config_page
from mocca_jax import config as configs
from mocca_jax.commands import config as command
from mocca_jax.config import files
from mocca_jax.config.presets import kinds_of, presets_of
from mocca_jax.config.rules import Field
from mocca_jax.config.typed import set_field
from mocca_jax.data.planted import KINDS as PLANTED
from mocca_jax.errors import UserError
from mocca_jax.method.losses import LOSSES
from mocca_jax.models import ENCODERS
from mocca_jax.models.heads import HEADS
from mocca_jax.scoring.maps import METHODS
from mocca_jax.training.stages import STAGES
from tests.conftest import REPOSITORY

NAMES = ["cifar10", "digits", "folder", "mvtec", "smoke", "video", "video_synthetic"]
KIND_OF_PRESETS = {"folder": "mocca,"}  # where presets do not go with the default kind
SPECS = [
    ":".join(filter(None, (name, words)))
    for name in NAMES
    for words in (
        "",
        *kinds_of(files.read(name)),
        *(KIND_OF_PRESETS.get(name, "") + preset for preset in presets_of(files.read(name))),
    )
]


def in_empty_folder(folder, script):
    """Runs a script in a folder without anything in it, where nothing named `configs` can be imported."""
    folder.mkdir(exist_ok=True)
    alone = (
        "import importlib.util, pathlib, sys, mocca_jax, mocca_jax.config.files;"
        "sys.path[:] = [p for p in sys.path if not (pathlib.Path(p) / 'configs').is_dir()];"
        "assert importlib.util.find_spec('configs') is None;"
    )
    return subprocess.run(
        [sys.executable, "-c", alone + script],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )


def test_the_packaged_configs_are_found():
    assert files.names() == NAMES
    assert files.packaged().resolve() == REPOSITORY / "configs"


@pytest.mark.parametrize("spec", SPECS)
def test_every_field_of_every_config_has_a_meaning(spec):
    config = files.load(spec)
    configs.check(config)
    known = configs.fields_of(config)
    shown = [name for _, values in command.grouped(config) for name in values]
    nested = [name for name in config if isinstance(config[name], ConfigDict)]
    present = [n for n in config if n not in nested] + [f"{n}.{field}" for n in nested for field in config[n]]
    assert sorted(shown) == sorted(present)
    later = {name for name in known if name.rpartition(".")[2] in configs.LATER}
    assert len(present) == len({*present}) and {*present} <= {*known} <= {*present, *later}
    assert [name for name in known if not known[name].meaning or not known[name].allowed] == []


def test_every_entry_of_the_table_is_used_by_a_config():
    used, sets = set(), set()
    for spec in SPECS:
        config = files.load(spec)
        sets.add(config.data)
        used |= {(config.data, name.rpartition(".")[2]) for name in configs.fields_of(config) if "." not in name}
    entries = {(data, name) for data, fields in configs.DATA_FIELDS.items() for name in fields if data in sets}
    assert entries <= used and set(configs.FIELDS) <= {name for _, name in used}
    assert set(configs.DATA_FIELDS) == sets


@pytest.mark.parametrize(
    "field, table",
    [
        ("data", configs.DATA_FIELDS),
        ("encoder", ENCODERS),
        ("head", set(HEADS) - {"activation"}),  # for anomaly maps, not for training
        ("boundary", LOSSES),
        ("stages", STAGES),
    ],
)
def test_the_names_that_a_field_lists_are_those_of_its_table(field, table):
    assert set(configs.FIELDS[field].names) == set(table)


def test_names_that_only_some_data_sets_have_are_those_of_their_tables():
    assert set(configs.DATA_FIELDS["folder"]["maps"].names) == set(METHODS)
    assert set(configs.DATA_FIELDS["mvtec"]["category"].names) == set(kinds_of(files.read("mvtec")))
    assert set(PLANTED) == set(configs.DATA_FIELDS["video"]["planted"].names)


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_and_preset_says_what_it_is(name):
    module = files.read(name)
    assert command.summary(name).endswith(".")
    assert all(text.endswith(".") for text in (kinds_of(module) | presets_of(module)).values())


@pytest.mark.parametrize(
    "spec, said",
    [
        ("foldr", "there is no config 'foldr'; did you mean 'folder'?"),
        ("configs/foldr.py:texture", "there is no config file 'configs/foldr.py'; did you mean 'folder'?"),
        ("imagenet", "there is no config 'imagenet'; known: cifar10, digits"),
        ("elsewhere/folder.py", "there is no config file 'elsewhere/folder.py'; did you mean 'folder'?"),
        ("folder:textur", "configs/folder.py has no 'textur'; did you mean 'texture'?"),
        ("folder:texture,quik", "configs/folder.py has no 'quik'; did you mean 'quick'?"),
        (
            "folder:texture,mocca",
            "configs/folder.py is one of pretrained, scratch, tiled, mocca, rotatable, texture, not texture and",
        ),
        (
            "folder:object",
            "configs/folder.py has no 'object'; kinds: pretrained, scratch, tiled, mocca, rotatable, texture; presets:",
        ),
        ("folder:quick", "quick is for kinds of the paper's method: name one, as in configs/folder.py:mocca,quick"),
        (
            "folder:pretrained,paper,quick",
            "paper, quick is for kinds of the paper's method: name one, as in configs/folder.py:moc",
        ),
        ("mvtec:grid,quick,pretrained", "configs/mvtec.py: pretrained trains nothing; it goes without quick"),
        ("mvtec:pretrained,paper,quick", "configs/mvtec.py: pretrained trains nothing; it goes without paper, quick"),
        ("mvtec:gird", "configs/mvtec.py has no 'gird'; did you mean 'grid'?"),
        ("cifar10:deep_svd", "configs/cifar10.py has no 'deep_svd'; did you mean 'deep_svdd'?"),
        ("smoke:clips", "configs/smoke.py has no 'clips'; did you mean 'clip'?"),
        ("smoke:night", "configs/smoke.py has no 'night'; kinds: image, clip"),
        ("video:ped3", "configs/video.py has no 'ped3'; did you mean 'ped2'?"),
        ("video_synthetic:ped2", "has no 'ped2'; presets: quick, reconstruct, untrained"),
        ("digits:quick", "digits has no kinds and no presets: leave ':quick' out"),
    ],
)
def test_a_mistyped_config_gets_the_nearest(spec, said):
    with pytest.raises(UserError, match=re.escape(said)):
        files.load(spec)


def test_a_preset_alone_goes_with_the_default_kind():
    assert files.load("mvtec:quick").category == files.load("mvtec").category
    assert files.load("cifar10:quick").normal_class == files.load("cifar10").normal_class


def test_of_a_folder_nothing_is_trained_unless_a_kind_that_trains_is_named():
    alone, named, paper = (files.load(spec) for spec in ("folder", "folder:pretrained", "folder:mocca"))
    assert configs.digest(alone) == configs.digest(named)
    assert alone.stages == () and alone.score == "statistics" and "one_class" not in alone
    assert paper.stages == ("reconstruction", "one_class") and paper.score == "distance" and paper.patch == 0
    assert configs.as_dict(files.load("folder:mocca,quick")).keys() == configs.as_dict(paper).keys()
    preset = files.load("mvtec:grid,pretrained")
    assert configs.as_dict(preset) == configs.as_dict(alone) | {"data": "mvtec", "category": "grid"}


def test_a_path_is_the_file_where_there_is_one_and_else_the_packages_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert files.load("configs/digits.py").data == "digits"
    (tmp_path / "configs").mkdir()
    own = (
        "from mocca_jax.configs import smoke\ndef get_config():\n    config = smoke.get_config()\n    config.seed = 7\n"
    )
    (tmp_path / "configs/digits.py").write_text(own + "    return config\n")
    assert files.load("configs/digits.py").seed == 7
    assert files.load("digits").seed == 0


@pytest.mark.parametrize(
    "text, said",
    [
        ("x = 1\n", "no function get_config"),
        ("def get_config():\n    return {}\n", "must return an ml_collections.ConfigDict"),
        ("def get_config():\n\n    return nothing\n", r"own\.py, line 3: NameError"),
        ("def get_config(:\n", r"own\.py: SyntaxError"),
    ],
)
def test_a_config_file_that_is_none_is_told(tmp_path, text, said):
    (tmp_path / "own.py").write_text(text)
    with pytest.raises(UserError, match=said):
        files.load(str(tmp_path / "own.py"))


@pytest.mark.parametrize("spec", ["folder:texture", "configs/video_synthetic.py:quick", "smoke:clip", "own.py"])
def test_configs_load_in_an_empty_folder(tmp_path, spec):
    folder = tmp_path / "empty"
    folder.mkdir()
    if spec == "own.py":
        (folder / spec).write_text(
            "from mocca_jax.configs import digits\n\n\ndef get_config():\n    return digits.get_config()\n"
        )
    script = f"from mocca_jax import config; print(config.digest(config.files.load({spec!r})))"
    done = in_empty_folder(folder, script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == configs.digest(files.load("digits" if spec == "own.py" else spec))


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("layer_reduction", "means", "must be one of 'mean', 'sum'; did you mean 'mean'?"),
        ("formulation", "plane", "; did you mean 'plain'?"),
        ("unreadable", "skipp", "; did you mean 'skip'?"),
        ("centroid_pusch", 0.1, "centroid_pusch: unknown field; did you mean 'centroid_push'?"),
        ("stages", ("one_clas",), "the stage has no settings of its own; did you mean 'one_class'?"),
        ("data", "folders", "unknown data set; did you mean 'folder'?"),
        ("data", ["folder"], "unknown data set"),
    ],
)
def test_a_wrong_field_or_value_gets_the_nearest(name, value, said):
    config = files.load("folder:mocca")
    with config.ignore_type(), pytest.raises(UserError, match=re.escape(said)):
        config[name] = value
        configs.check(config)


def test_the_nearest_of_several_values_is_for_the_wrong_one():
    config = files.load("video")
    config.planted = ("object", "sped2")
    with pytest.raises(UserError, match="did you mean 'speed2'"):
        configs.check(config)


def test_a_pair_of_predicate_and_words_is_a_field_too(monkeypatch):
    config = files.load("digits")
    for name in ("normal_class", "scaling"):
        del config[name]
    config.data, config.noise = "rings", -1.0
    monkeypatch.setitem(configs.DATA_FIELDS, "rings", {"noise": (lambda value: value >= 0, "a number, 0 or above")})
    with pytest.raises(UserError, match=re.escape("noise = -1.0: must be a number, 0 or above")):
        configs.check(config)
    set_field(config, "noise", "5")
    configs.check(config)
    assert config.noise == 5.0
    assert configs.fields_of(config)["noise"].meaning == ""


@pytest.mark.parametrize(
    "name, text, value",
    [
        ("one_class.epochs", "5", 5),
        ("one_class.learning_rate", "1e-2", 0.01),
        ("one_class.milestones", "10,20", (10, 20)),
        ("nu", "1", 1.0),
        ("transfer", "false", False),
        ("transfer", "True", True),
        ("boundary", "hard", "hard"),
        ("data_dir", "a, (b) = c", "a, (b) = c"),
        ("layers", "(4, 5)", (4, 5)),
        ("layers", "4,5", (4, 5)),
        ("layers", "4", (4,)),
        ("layers", "4,", (4,)),
        ("layers", "()", ()),
        ("layers", "", ()),
        ("rotation", "-10.5, 45", (-10.5, 45)),
        ("maps", "features,positions", ("features", "positions")),
        ("maps", "('features',)", ("features",)),
        ("stages", "one_class", ("one_class",)),
        ("seed", "7", 7),
    ],
)
def test_text_becomes_a_value_of_the_fields_kind(name, text, value):
    config = files.load("folder:mocca")
    set_field(config, name, text)
    stage, _, field = name.rpartition(".")
    found = (config[stage] if stage else config)[field]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("one_class.epoch", "5", "the config has no field 'one_class.epoch'; did you mean 'one_class.epochs'?"),
        ("epochs", "5", "did you mean 'one_class.epochs' or 'reconstruction.epochs'?"),
        ("joint.epochs", "5", "the config has no field 'joint.epochs'; did you mean"),
        ("one_class", "5", "one_class is a stage with fields of its own: one_class."),
        ("batchsize", "5", "did you mean 'batch_size'?"),
        ("frame_size", "5,5", "the config has no field 'frame_size'"),
        ("seed.x", "5", "the config has no field 'seed.x'"),
        ("batch_size", "many", "batch_size = 'many': must be a whole number, at least 1"),
        ("batch_size", "1.5", "batch_size = 1.5: must be a whole number, at least 1"),
        ("batch_size", "0", "batch_size = 0: must be a whole number, at least 1"),
        ("nu", "nan", "nu = nan: must be a number from 0 to 1"),
        ("transfer", "maybe", "transfer = 'maybe': must be True or False"),
        ("score", "distanse", "did you mean 'distance'?"),
        ("layers", "a,b", "layers = 'a,b': must be a tuple of different whole numbers"),
        ("layers", "4,4", "layers = (4, 4): must be a tuple of different whole numbers"),
        ("layers", "__import__('os')", "must be a tuple of different whole numbers"),
    ],
)
def test_text_that_is_no_value_says_what_was_wanted_and_changes_nothing(name, text, said):
    config = files.load("folder:mocca")
    before = configs.digest(config)
    with pytest.raises(UserError, match=re.escape(said)):
        set_field(config, name, text)
    assert configs.digest(config) == before


def test_a_whole_number_in_a_config_does_not_forbid_others():
    config = files.load("folder:mocca")
    with config.ignore_type():
        config.heldout_fraction = 0
    set_field(config, "heldout_fraction", "0.25")
    assert config.heldout_fraction == 0.25


def test_a_field_that_came_later_can_be_set_where_a_config_lacks_it():
    config = files.load("folder:mocca")
    del config["accumulation"]
    config.lock()
    set_field(config, "accumulation", "4")
    assert config.accumulation == 4


def test_the_command_lists_configs_and_tells_every_field(capsys):
    command.main([])
    listed = capsys.readouterr().out
    assert all(re.search(rf"^  {name} +\w", listed, re.MULTILINE) for name in NAMES)
    command.main(["folder:texture"])
    told = capsys.readouterr().out
    for line in ("PRESETS", "KINDS", "  patch = 64\n", "[pixels]", "STAGE ONE_CLASS\n", "  one_class.epochs = 12\n"):
        assert line in told
    assert told.index("STAGE RECONSTRUCTION") < told.index("STAGE ONE_CLASS")
    command.main(["cifar10:dcae"])
    assert "STAGE ONE_CLASS, NOT IN STAGES" in capsys.readouterr().out


def test_the_command_prints_plain_values(capsys):
    command.main(["folder:texture", "--json"])
    assert '"patch": 64' in capsys.readouterr().out
    command.main(["--json"])
    assert '"folder": "A detector from a folder' in capsys.readouterr().out


def test_the_command_ends_with_one_message(capsys):
    with pytest.raises(SystemExit, match="error: there is no config 'foldr'; did you mean 'folder'"):
        command.main(["foldr"])


def test_the_command_is_fast_and_does_without_jax(tmp_path):
    script = (
        "from mocca_jax.commands import config; config.main(['folder:texture']);"
        "assert not {'jax', 'flax', 'numpy'} & {*sys.modules}"
    )
    seconds = []
    for _ in range(3):  # the fastest says what it takes; others share the machine
        began = time.monotonic()
        done = in_empty_folder(tmp_path, script)
        seconds.append(time.monotonic() - began)
        assert done.returncode == 0, done.stderr
    assert min(seconds) < 1


def test_the_page_of_fields_is_up_to_date():
    page = config_page.page()
    assert config_page.PAGE.read_text() == page, "run python -m experiments.config_page"
    for table in (configs.FIELDS, configs.STAGE_FIELDS, *configs.DATA_FIELDS.values()):
        assert all(f"\n| `{name}` | {Field(*field).meaning} |" in page for name, field in table.items())


def test_a_stale_page_is_told(tmp_path, monkeypatch):
    stale = tmp_path / "config.md"
    monkeypatch.setattr(config_page, "PAGE", stale)
    stale.write_text("")
    with pytest.raises(SystemExit, match="stale"):
        config_page.main(["--check"])
    config_page.main([])
    with pytest.raises(SystemExit) as ended:
        config_page.main(["--check"])
    assert ended.value.code == 0
