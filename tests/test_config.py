import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextchar.architecture import Architecture
from nextchar.config import BUDGETS, OLD_NAMES, PRESETS, Config, compose, make_config, read_toml, to_toml
from nextchar.errors import ConfigError
from nextchar.model.network import Network
from nextchar.recipe import Recipe
from nextchar.training.autosize import plan

odd = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\\n\r\t\x00\x7f\x85\u2028😀#='))


def toml(tmp_path: Path, content: str) -> Path:
    """Return a file with this content."""
    path = tmp_path / "config.toml"
    path.write_text(content, encoding="utf-8", newline="")
    return path


def test_the_defaults_are_valid() -> None:
    """Nothing needs to be given, and what is unset is left to the budget."""
    config = Config()
    assert make_config({}) == config
    unset = {name for name, value in config if value is None}
    assert unset >= {*BUDGETS, "hidden", "batch_size", "seq_length", "learning_rate", "dropout"}


@pytest.mark.parametrize("name", Config.model_fields)
def test_every_option_is_explained(name: str) -> None:
    """Every option has a group and a short description that is a sentence."""
    field = Config.model_fields[name]
    assert field.description
    assert field.description[0].isupper()
    assert field.description.endswith(".")
    assert "\n" not in field.description
    assert isinstance(field.json_schema_extra, dict)
    assert field.json_schema_extra["group"] in {"Budget", "Model", "Training", "Text", "Machine"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hiden": 3}, r"^unknown option 'hiden'; did you mean 'hidden'\?$"),
        ({"zzz": 3}, "^unknown option 'zzz'$"),
        ({"layers": "two"}, "^layers is 'two', but must be a valid integer"),
        ({"steps": 2.5}, "^steps is 2.5, but must be a valid integer"),
        ({"suffix": ["x", 3]}, "^suffix is 3, but must be a valid string"),
        ({"cell": "lstn"}, "^cell is 'lstn', but must be 'lstm', 'gru' or 'rnn'"),
        ({"sum_outputs": "perhaps"}, "^sum_outputs is 'perhaps', but must be a valid boolean"),
        ({"layers": 0}, "^layers is 0, but must be greater than or equal to 1"),
        ({"layers": 65}, "^layers is 65, but must be "),
        ({"hidden": 0}, "^hidden is 0, but must be "),
        ({"embedding": -1}, "^embedding is -1, but must be "),
        ({"dropout": 1.0}, "^dropout is 1.0, but must be less than 1"),
        ({"learning_rate": 0}, "^learning_rate is 0, but must be greater than 0"),
        ({"minutes": math.inf}, "^minutes is inf, but must be a finite number"),
        ({"minutes": math.nan}, "^minutes is nan, but must be "),
        ({"grad_clip_norm": math.inf}, "^grad_clip_norm is inf, but must be a finite number"),
        ({"grad_clip_value": -1}, "^grad_clip_value is -1, but must be "),
        ({"state_reset_prob": 1.1}, "^state_reset_prob is 1.1, but must be "),
        ({"lr_decay": 0}, "^lr_decay is 0, but must be "),
        ({"seed": 2**31}, "^seed is 2147483648, but must be "),
        ({"minutes": 1, "epochs": 2}, "^--minutes and --epochs are both budgets; give one of them$"),
        ({"valid": 0.5, "test": 0.5}, "^valid 0.5 and test 0.5 leave nothing to train on"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(values: dict[str, Any], message: str) -> None:
    """Unknown names, other types, values out of bounds and contradictions are named with their value."""
    with pytest.raises(ConfigError, match=message) as error:
        make_config(values)
    assert "\n" not in str(error.value)


def test_explain_names_an_unknown_option_too() -> None:
    """A name that pydantic itself finds unknown is explained like any other."""
    from pydantic import ValidationError

    from nextchar.config import explain

    with pytest.raises(ValidationError) as error:
        Config.model_validate({"seq_lengh": 3})
    assert explain(error.value) == "unknown option 'seq_lengh'; did you mean 'seq_length'?"


def test_a_config_does_not_change() -> None:
    """An option cannot be set afterwards; replace gives a checked copy."""
    config = make_config({"steps": 3, "layers": 1})
    with pytest.raises(ValueError, match="frozen"):
        config.layers = 2  # type: ignore[misc]
    assert config.replace(layers=3) == make_config({"steps": 3, "layers": 3})
    assert config.layers == 1
    with pytest.raises(ConfigError, match="layers is 0"):
        config.replace(layers=0)


def test_flags_lie_over_the_file_over_the_preset_over_the_defaults(tmp_path: Path) -> None:
    """Each layer gives what no layer above it gives."""
    file = toml(tmp_path, 'texts = ["a", "b"]\nbatch_size = 7\nseq_length = 8\n')
    config, texts = compose({"seq_length": 9}, preset="karpathy2015", file=file)
    assert (config.seq_length, config.batch_size, config.hidden, config.patience) == (9, 7, 128, 0)
    assert texts == ["a", "b"]


@pytest.mark.parametrize("given", BUDGETS)
@pytest.mark.parametrize("below", BUDGETS)
def test_a_budget_takes_the_place_of_one_below(tmp_path: Path, given: str, below: str) -> None:
    """A budget among the flags puts the file's aside, and without one the file's stays."""
    file = toml(tmp_path, f"{below} = 4\nbatch_size = 3\n")
    above, _ = compose({given: 2}, file=file)
    assert {name: value for name, value in above if name in BUDGETS and value} == {given: 2}
    assert getattr(compose({"batch_size": 5}, file=file)[0], below) == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hiden = 3", r"unknown option 'hiden' in .*config\.toml; did you mean 'hidden'\?"),
        ("layers = [1]", r"layers is \[1\], but must be .* \(in .*config\.toml\)"),
        ("minutes = 1\nsteps = 2", r"--minutes and --steps are both budgets.* \(in "),
        ("texts = 'a'", r"texts in .*config\.toml must be a list of strings"),
        ("texts = [1]", "must be a list of strings"),
        ("init_from = 1", "and init_from a string"),
        ("layers = ", r"config\.toml is not valid TOML: "),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, content: str, message: str) -> None:
    """What is wrong in a file is said with the file's name."""
    with pytest.raises(ConfigError, match=message):
        compose({}, file=toml(tmp_path, content))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """A file that is missing, or no UTF-8, is refused."""
    with pytest.raises(ConfigError, match="there is no file"):
        read_toml(tmp_path / "gone.toml")
    (tmp_path / "latin.toml").write_bytes(b'texts = ["\xe9"]')
    with pytest.raises(ConfigError, match="is not valid TOML"):
        read_toml(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("preset", "message"),
    [
        ("karpathy2016", r"unknown preset 'karpathy2016'; did you mean 'karpathy2015'\?"),
        ("zzz", "; there is karpathy2015"),
    ],
)
def test_an_unknown_preset_is_refused(preset: str, message: str) -> None:
    """A preset that is not there is refused with those that are."""
    with pytest.raises(ConfigError, match=message):
        compose({}, preset=preset)


@given(
    texts=st.lists(odd, max_size=3),
    suffix=st.lists(odd, max_size=3).map(tuple),
    encoding=odd,
    minutes=st.floats(1e-300, 1e300),
    forget_bias=st.floats(-1e9, 1e9),
    batch_size=st.none() | st.integers(1, 2**40),
    loss_sum=st.booleans(),
)
def test_a_config_file_says_what_it_was_written_from(tmp_path: Path, texts: list[str], **values: Any) -> None:
    """read_toml(to_toml(x)) is x, whatever characters the texts and options hold."""
    config = make_config(values)
    found, found_texts = read_toml(toml(tmp_path, to_toml(config, texts)))
    assert found_texts == texts
    assert make_config(found) == config


def test_a_config_file_has_one_option_a_line() -> None:
    """Every option that has a value is written, and those without are not."""
    written = tomllib.loads(to_toml(Config(), ["a"]))
    assert written.keys() == {"texts"} | {name for name, value in Config() if value is not None}
    assert len(to_toml(Config()).splitlines()) == 1 + len(written)


def test_karpathy2015_is_the_recipe_of_the_post() -> None:
    """The preset has char-rnn's values and, for 65 characters, its 240,321 parameters."""
    config, _ = compose({}, preset="karpathy2015")
    wanted = {
        "cell": "lstm", "layers": 2, "hidden": 128, "embedding": 0, "dropout": 0.0,
        "batch_size": 50, "seq_length": 50, "optimizer": "rmsprop", "learning_rate": 0.002, "head_lr_multiplier": 1.0,
        "beta2": 0.95, "lr_schedule": "exponential",
        "lr_decay": 0.97, "lr_decay_after": 10, "grad_clip_value": 5.0, "grad_clip_norm": 0.0,
        "init": "uniform", "sum_outputs": False, "warmup": 0, "state_reset_prob": 0.0,
    }  # fmt: skip
    assert {name: getattr(config, name) for name in wanted} == wanted
    recipe = plan(config.replace(steps=1), 10_000, 65)
    assert recipe.architecture.parameters(65) == 240_321


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_valid(preset: str) -> None:
    """Presets hold known options within their bounds."""
    assert plan(make_config({**PRESETS[preset], "steps": 1}), 10_000, 10).architecture.parameters(10) > 0


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("embedding", [0, 3])
@pytest.mark.parametrize("layers", [1, 3])
def test_the_parameters_are_those_of_the_network(cell: Any, embedding: int, layers: int) -> None:
    """The count and the shapes of the weights are those of the torch network."""
    architecture = Architecture(cell=cell, layers=layers, hidden=5, embedding=embedding)
    network = Network(architecture, 7)
    assert architecture.parameters(7) == network.size()
    found = {name: tuple(parameter.shape) for name, parameter in network.named_parameters()}
    assert architecture.shapes(7) == found
    assert Architecture.from_dict({**architecture.as_dict(), "later": 1}) == architecture


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"cell": "transformer"}, "cell is 'transformer', but must be one of lstm, gru, rnn"),
        ({"layers": 0}, "layers is 0, but must be a whole number of at least 1"),
        ({"hidden": 1.5}, "hidden is 1.5, but"),
        ({"layers": True}, "layers is True, but"),
        ({"embedding": -1}, "embedding is -1, but must be a whole number of at least 0"),
    ],
)
def test_a_shape_that_no_network_has_is_refused(values: dict[str, Any], message: str) -> None:
    """An architecture refuses what it cannot be."""
    with pytest.raises(ConfigError, match=message):
        Architecture(**values)


def test_a_recipe_has_no_gaps() -> None:
    """Planning sets every option, and a recipe that lacks one is refused by its name."""
    recipe = plan(Config(epochs=2, hidden=32), 10_000, 65)
    assert {name for name, value in recipe if value is None} == {"minutes", "epochs"}
    values = recipe.model_dump(exclude_none=True)
    assert make_config(values) == recipe.to_config()
    with pytest.raises(ConfigError, match=r"^dropout is missing$"):
        Recipe.make({name: value for name, value in values.items() if name != "dropout"})


def test_a_text_whose_name_is_not_utf8_is_refused() -> None:
    """TOML can hold only UTF-8, so such a name is told at once and with its remedy."""
    with pytest.raises(ConfigError, match="is not UTF-8; rename the file"):
        to_toml(Config(), ["caf\udce9.txt"])
    with pytest.raises(ConfigError, match="is not UTF-8; rename the file"):
        to_toml(Config(), init_from="caf\udce9")


def test_the_model_it_started_from_stands_beside_the_texts(tmp_path: Path) -> None:
    """`init_from` is read back as it was written, is no option, and is left out where there is none."""
    file = toml(tmp_path, to_toml(Config(layers=3), ["a"], "/runs/é"))
    assert read_toml(file)[0]["init_from"] == "/runs/é"
    assert compose({}, file=file) == (Config(layers=3), ["a"])
    assert "init_from" not in to_toml(Config(), ["a"])


OLD = {
    "lanes": 7, "window": 9, "cold_start": 0.5, "head_rate": 2.0, "hold": 0.5, "fall": "cosine", "decay": 0.9,
    "decay_after": 3, "clip_norm": 2.0, "clip_value": 3.0, "validate_every": 5, "validate_chars": 500,
    "initialization": "uniform",
}  # fmt: skip


@pytest.mark.parametrize("old", OLD)
def test_names_of_version_0_1_0_are_read(tmp_path: Path, old: str) -> None:
    """An old name means the same as the present one: in keywords, files, changes and dumps, but not beside it."""
    present, value = OLD_NAMES[old], OLD[old]
    config = make_config({present: value})
    assert Config(**{old: value}) == make_config({old: value}) == Config().replace(**{old: value}) == config
    file = toml(tmp_path, f"{old} = {value!r}\n")
    assert compose({}, file=file)[0] == config
    assert compose({present: config.model_dump()[present]}, file=file)[0] == config
    with pytest.raises(ConfigError, match=f"{old} is the old name of {present}; give one of them"):
        make_config({old: value, present: value})


def test_every_old_name_is_tried_above() -> None:
    """No option loses its old name unnoticed."""
    assert OLD_NAMES.keys() == OLD.keys()


def test_one_suffix_may_be_a_str() -> None:
    """A str is one suffix, not a sequence of characters."""
    assert Config(suffix=".py").suffix == (".py",)  # type: ignore[arg-type]
