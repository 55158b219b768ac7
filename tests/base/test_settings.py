import dataclasses
from pathlib import Path
from typing import Any

import pytest

from headstart.base.errors import SettingsError
from headstart.base.settings import Settings, from_toml


def test_defaults_are_the_documented_ones() -> None:
    settings = Settings(data="photos")
    assert settings.backbones == ("mobilenet_v2", "efficientnet_lite0")
    assert settings.techniques == ("features", "finetune")
    assert (settings.seed, settings.fit, settings.augment) == (0, "squash", "auto")


def test_every_option_has_help_that_is_a_sentence() -> None:
    for known in dataclasses.fields(Settings):
        assert known.metadata["help"].endswith("."), known.name


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("fit", "crup", "fit is 'crup'.\nChoose one of squash, crop, pad."),
        ("augment", "", "augment is ''.\nChoose one of auto, none, light, full."),
        ("class_weight", "x", "class_weight is 'x'.\nChoose one of auto, none, balanced."),
        ("techniques", ("features", "magic"), "techniques is 'magic'.\nChoose one of features, finetune."),
        (
            "unfreeze",
            "most",
            "unfreeze is 'most'.\nChoose one of auto, last, half, all, or a number of layers.",
        ),
        ("unfreeze", "-1", "unfreeze is '-1'.\nChoose one of auto, last, half, all, or a number of layers."),
        ("epochs", 0, "epochs is 0.\nGive 1 or more."),
        ("epochs", "many", "epochs is 'many'.\nGive auto, or a number of passes."),
        ("batch_size", -4, "batch_size is -4.\nGive 1 or more."),
        ("image_size", 16, "image_size is 16.\nGive 32 or more."),
        ("image_size", "large", "image_size is 'large'.\nGive auto, or a number of pixels."),
        ("learning_rate", 0.0, "learning_rate is 0.0.\nGive a number above 0."),
        ("learning_rate", float("nan"), "learning_rate is nan.\nGive a number above 0."),
        ("test", 0.0, "test is 0.0.\nGive a part of all photos, above 0 and below 0.9."),
        ("test", 1.2, "test is 1.2.\nGive a part of all photos, above 0 and below 0.9."),
        ("validation", 0.9, "validation is 0.9.\nGive a part of all photos, above 0 and below 0.9."),
    ],
)
def test_refuses_a_value_out_of_its_range(name: str, value: Any, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(data="photos", **{name: value})
    assert str(caught.value) == message


@pytest.mark.parametrize("unfreeze", ["auto", "last", "half", "all", "0", "12"])
def test_unfreeze_takes_words_and_numbers(unfreeze: str) -> None:
    assert Settings(data="photos", unfreeze=unfreeze).unfreeze == unfreeze


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_a_file(tmp_path: Path) -> None:
    path = write(
        tmp_path, 'data = "photos"\nbackbones = ["tiny"]\nseed = 7\ntest = 0.25\nlearning_rate = 1\n'
    )
    assert from_toml(path) == Settings(
        data="photos", backbones=("tiny",), seed=7, test=0.25, learning_rate=1.0
    )


def test_what_the_command_line_names_goes_before_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'data = "photos"\nseed = 7\nfit = "crop"\n')
    assert from_toml(path, seed=8) == Settings(data="photos", seed=8, fit="crop")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('data = "photos"\nsead = 7\n', "{} has the unknown key 'sead'.\nDid you mean 'seed'?"),
        (
            'data = "photos"\nxyzzy = 7\n',
            "{} has the unknown key 'xyzzy'.\nThe keys are: "
            + ", ".join(known.name for known in dataclasses.fields(Settings))
            + ".",
        ),
        (
            'data = "photos"\nseed = "seven"\n',
            "{}: Expected `int`, got `str` - at `$.seed`.\nGive the value in that type.",
        ),
        (
            'data = "photos"\nimage_size = "large"\n',
            "{}: Invalid enum value 'large' - at `$.image_size`.\nGive the value in that type.",
        ),
        ("seed = 7\n", "{}: Object missing required field `data`.\nGive the value in that type."),
        ('data = "photos"\nfit = "crup"\n', "fit is 'crup'.\nChoose one of squash, crop, pad."),
        (
            "seed = = 7\n",
            "{} is not TOML: Invalid value (at line 1, column 8).\nMend that line.",
        ),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as caught:
        from_toml(path)
    assert str(caught.value) == message.format(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        from_toml(tmp_path / "none.toml")
    assert str(caught.value) == f"No file {tmp_path / 'none.toml'}.\nName a TOML file with --config."
