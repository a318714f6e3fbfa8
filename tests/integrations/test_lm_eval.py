import math
from types import SimpleNamespace

import pytest

from conftest import make_model
from nextchar.evaluation.score import evaluate
from nextchar.sampling.sample import sample
from nextchar.storage import save
from nextchar.text.vocabulary import Vocabulary

pytest.importorskip("lm_eval.api.model", exc_type=ImportError)

LM = make_model(Vocabulary("characters", tuple(map(ord, "\n abcdeé☃"))))
TEXT = "abc dé☃\nbad cab\n" * 40


@pytest.fixture
def model(tmp_path: object) -> object:
    """Return the plugin's model of a file."""
    from nextchar.integrations.lm_eval import NextcharLM

    save(LM, f"{tmp_path}/small.safetensors")
    return NextcharLM(f"{tmp_path}/small.safetensors", batch_size=1, device="cpu")


def _requests(*arguments: tuple[object, ...]) -> list[SimpleNamespace]:
    return [SimpleNamespace(args=each) for each in arguments]


def test_a_text_has_the_bits_per_byte_of_evaluate(model: object) -> None:
    """The plugin's log-likelihood is exactly that of the *stream* protocol, also of an empty text."""
    whole, nothing = model.loglikelihood_rolling(_requests((TEXT,), ("",)))  # type: ignore[attr-defined]
    bits = -whole / math.log(2) / len(TEXT.encode())
    assert bits == pytest.approx(evaluate(LM, TEXT).bits_per_byte, abs=1e-9)
    assert nothing == 0


def test_a_continuation_has_the_rest_of_the_likelihood(model: object) -> None:
    """A context and its continuation together have the likelihood of the whole; several of one context, too."""
    cuts = [0, 1, 100, 100, len(TEXT) - 1]
    asked = _requests(*((TEXT[:cut], TEXT[cut:]) for cut in cuts), ("abc", "é"), ("abc", ""))
    found = model.loglikelihood(asked)  # type: ignore[attr-defined]
    whole = evaluate(LM, TEXT)
    for cut, (likelihood, greedy) in zip(cuts, found, strict=False):
        before = evaluate(LM, TEXT[:cut]).nats_per_char * cut if cut else 0.0
        assert -likelihood == pytest.approx(whole.nats_per_char * whole.chars - before, abs=1e-3)
        assert not greedy or cut == cuts[-1]
    assert found[-1] == (0.0, True)


def test_the_likeliest_continuation_is_greedy(model: object) -> None:
    """What temperature 0 generates is the likeliest at every character; anything else is not."""
    likeliest = sample(LM, "abc", temperature=0, length=12).text
    other = likeliest[:-1] + ("a" if likeliest[-1] != "a" else "b")
    found = model.loglikelihood(_requests(("abc", likeliest), ("abc", other)))  # type: ignore[attr-defined]
    assert [greedy for _, greedy in found] == [True, False]


def test_texts_are_generated_up_to_a_stop_string(model: object) -> None:
    """Without sampling they are the likeliest."""
    given = [{"until": ["é"], "max_gen_toks": 30}, {"until": "b", "do_sample": False, "temperature": 2.0}]
    found = model.generate_until(_requests(*(("ab", each) for each in given)))  # type: ignore[attr-defined]
    assert found[0] == sample(LM, "ab", temperature=0, length=30, stop="é").text
    assert found[1] == sample(LM, "ab", temperature=0, length=256, stop="b").text


def test_the_harness_gets_the_same_over_http() -> None:
    """Its client of OpenAI's interface finds tokens and likelihoods, from the first character on."""
    pytest.importorskip("lm_eval.models.api_models", exc_type=ImportError)
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    from serving.service import CHARACTERS, serving

    with serving() as at:
        client = LocalCompletionsAPI(base_url=f"{at}/v1/completions", model="letters", num_concurrent=1)
        requests = [SimpleNamespace(args=(TEXT,))]
        (whole,) = client.loglikelihood_rolling(requests, disable_tqdm=True)
        bits = -whole / math.log(2) / len(TEXT.encode())
        assert bits == pytest.approx(evaluate(CHARACTERS, TEXT).bits_per_byte, abs=1e-4)
        likeliest = sample(CHARACTERS, "abc", temperature=0, length=12).text
        asked = [SimpleNamespace(args=("abc", likeliest)), SimpleNamespace(args=("abc", "é☃"))]
        assert [greedy for _, greedy in client.loglikelihood(asked, disable_tqdm=True)] == [True, False]
