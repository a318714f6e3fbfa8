from fractions import Fraction

import numpy as np
import pytest

from conftest import make_model
from nextchar.errors import ConfigError
from nextchar.sampling.options import SampleOptions, SamplingParams
from nextchar.sampling.sample import sample, stream
from nextchar.text.vocabulary import Vocabulary

MODEL = make_model(Vocabulary("characters", tuple(map(ord, "\nabcdeé☃"))))
HUGE = 10**30


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("temperature", -0.5),
        ("temperature", float("inf")),
        ("temperature", float("nan")),
        ("top_k", -3),
        ("top_p", 0.0),
        ("top_p", 1.25),
        ("min_p", -0.5),
        ("min_p", 1.5),
        ("repetition_penalty", 0.0),
        ("presence_penalty", 2.5),
        ("frequency_penalty", -2.5),
    ],
)
def test_a_value_out_of_range_is_refused_by_name_and_value(option: str, value: float) -> None:
    """The error names the parameter, its value and the bounds."""
    with pytest.raises(ConfigError, match=f"^{option} is {value:g}, but must be "):
        SamplingParams(**{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        ({3: 101}, "the logit_bias of id 3 is 101, but must be from -100 to 100"),
        ({3: "much"}, "the logit_bias of id 3 is 'much', but must be a number from -100 to 100"),
        ({-1: 1}, "an id of logit_bias is -1, but must be 0 or more"),
        ({8: 1}, "logit_bias has id 8, but the ids of this model are 0 to 7"),
    ],
)
def test_a_logit_bias_is_checked(bias: dict[int, float], message: str) -> None:
    """The error names the id, its value and the bounds."""
    with pytest.raises(ConfigError, match=f"^{message}$"):
        sample(MODEL, "", SampleOptions(params=SamplingParams(logit_bias=bias)))  # type: ignore[arg-type]


def test_a_logit_bias_is_a_mapping_or_pairs() -> None:
    """Both are kept as pairs, so that equal parameters are equal and can be hashed."""
    pairs = SamplingParams(logit_bias=((1, 2), (0, -1)))
    assert SamplingParams(logit_bias={1: 2.0, 0: -1.0}) == pairs  # type: ignore[arg-type]
    assert hash(pairs) == hash(SamplingParams(logit_bias=((1, 2.0), (0, -1.0))))


@pytest.mark.parametrize(
    ("option", "value"), [("temperature", "warm"), ("temperature", 10**400), ("top_k", 2.5), ("top_p", None)]
)
def test_a_value_of_another_type_is_refused(option: str, value: object) -> None:
    """What is no number of the right kind is an error that shows it."""
    with pytest.raises(ConfigError, match=f"^{option} is .*, but must be a (whole )?number"):
        SamplingParams(**{option: value})  # type: ignore[arg-type]


def test_numbers_of_any_type_are_taken() -> None:
    """Integers and floats of numpy, and fractions, are kept as Python's own."""
    params = SamplingParams(np.float32(0.5), np.int64(3), Fraction(1, 2), 0)  # type: ignore[arg-type]
    assert params == SamplingParams(0.5, 3, 0.5, 0.0)
    assert [type(value) for value in (params.temperature, params.top_k, params.top_p)] == [float, int, float]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": -1}, "the length is -1, but must be 0 or more"),
        ({"length": 2.5}, "the length is 2.5, but must be a whole number"),
        ({"seed": -2}, "the seed is -2, but must be 0 or more"),
        ({"stop": ("a", "")}, "a stop string is empty"),
        ({"stop": ""}, "a stop string is empty"),
        ({"unknown": "ignore"}, "unknown is 'ignore', but must be one of error, skip"),
        ({"weights": "fp4"}, "weights is 'fp4', but must be one of fp32, bf16, int8"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    """The error names the option, its value and what is possible."""
    with pytest.raises(ConfigError, match=message):
        SampleOptions(**options)  # type: ignore[arg-type]


def test_a_count_below_one_is_refused() -> None:
    """There is no text to return."""
    with pytest.raises(ConfigError, match="the count is 0, but must be 1 or more"):
        sample(MODEL, count=0)


def test_a_str_is_one_stop() -> None:
    """A str is not read as one stop for each of its characters, and a list is as good as a tuple."""
    assert SampleOptions(stop="cat") == SampleOptions(stop=["cat"]) == SampleOptions(stop=("cat",))  # type: ignore[arg-type]
    assert SampleOptions(stop="cat").stop == ("cat",)  # type: ignore[arg-type]


def test_integers_of_any_size_are_taken() -> None:
    """A huge top_k means all; a huge seed is a seed; a huge length is no limit."""
    options = SampleOptions(params=SamplingParams(top_k=HUGE), seed=HUGE, length=50)
    plain = SampleOptions(seed=HUGE, length=50)
    assert sample(MODEL, "", options) == sample(MODEL, "", plain)
    assert sample(MODEL, "", plain) != sample(MODEL, "", SampleOptions(seed=HUGE + 1, length=50))
    endless = stream(MODEL, "", SampleOptions(length=HUGE, stop="a"))
    assert "".join(endless) == sample(MODEL, "", SampleOptions(length=5000, stop="a")).text
