"""Devices and precisions: which are taken, and that float64 stays on the CPU."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

import nextchar
from conftest import make_model
from nextchar import device
from nextchar.device import pick_device, pick_precision
from nextchar.errors import ConfigError
from nextchar.evaluation import score
from nextchar.evaluation.calibrate import calibrate
from nextchar.inspection.trace import trace
from nextchar.language_model import LanguageModel
from nextchar.model.reading import surprisal
from nextchar.storage import to_file, to_language_model
from nextchar.text.corpus import Corpus
from other_device import other_device

CPU = torch.device("cpu")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this a machine without accelerators."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def _set_bf16(monkeypatch: pytest.MonkeyPatch, fast: tuple[bool, str], problem: str) -> None:
    monkeypatch.setattr(device, "_bf16_is_fast", lambda _: fast)
    monkeypatch.setattr(device, "_bf16_problem", lambda _: problem)


def test_cpu_is_cpu() -> None:
    """The CPU is there whenever it is asked for."""
    assert pick_device("cpu") == CPU


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize("name", ["cuda", "mps", "tpu"])
def test_what_is_not_there_is_refused_in_one_sentence(name: str) -> None:
    """A device this machine lacks is an error that names it, what there is, and the remedy."""
    with pytest.raises(ConfigError, match=f"the device is '{name}', .* have cpu; give --device auto") as error:
        pick_device(name)
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("bare")
def test_auto_takes_the_cpu_where_there_is_nothing_else() -> None:
    """Without accelerators auto is the CPU."""
    assert pick_device("auto") == CPU


@pytest.mark.parametrize(("cuda", "expected"), [(True, "cuda"), (False, "cpu")])
@pytest.mark.parametrize("mps", [True, False])
def test_auto_is_cuda_or_the_cpu(monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str) -> None:
    """Auto prefers cuda and never takes mps, which has to be named."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device("auto").type == expected
    if mps:
        assert pick_device("mps").type == "mps"


def test_auto_precision_on_the_cpu_says_why() -> None:
    """On the CPU auto gives fp32 or bf16, and a reason in words."""
    precision, reason = pick_precision("auto", CPU)
    assert precision in ("fp32", "bf16")
    assert reason
    assert pick_precision("auto", CPU) == (precision, reason)


def test_fp32_is_given_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp32 is never argued with."""
    _set_bf16(monkeypatch, (True, "it flies"), "")
    assert pick_precision("fp32", CPU) == ("fp32", "as asked")


@pytest.mark.parametrize(
    ("name", "fast", "expected"),
    [
        ("auto", True, ("bf16", "of its kind")),
        ("auto", False, ("fp32", "of its kind")),
        ("bf16", True, ("bf16", "as asked")),
        ("bf16", False, ("bf16", "as asked, though of its kind")),
    ],
)
def test_bf16_is_taken_where_it_is_fast_or_asked_for(
    monkeypatch: pytest.MonkeyPatch, name: str, fast: bool, expected: tuple[str, str]
) -> None:
    """Where bf16 works, auto follows its speed and a request is granted, each with its reason."""
    _set_bf16(monkeypatch, (fast, "of its kind"), "")
    assert pick_precision(name, CPU) == expected


def test_auto_falls_back_where_bf16_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardware that promises bf16 and fails gets fp32 and the failure as the reason."""
    _set_bf16(monkeypatch, (True, "it flies"), "it does not fly")
    assert pick_precision("auto", CPU) == ("fp32", "it does not fly")


@pytest.mark.parametrize("fast", [True, False])
def test_bf16_that_fails_is_refused(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    """bf16 asked for where it fails is an error with the failure and the remedy."""
    _set_bf16(monkeypatch, (fast, "of its kind"), "it does not fly")
    with pytest.raises(ConfigError, match=r"on this cpu: it does not fly; give --precision auto"):
        pick_precision("bf16", CPU)


def test_a_trial_that_raises_is_a_problem_in_its_first_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch says against bf16 is reported up to its first line end."""

    def fail(*_: object) -> None:
        raise RuntimeError("no such kernel\nat line 5")

    monkeypatch.setattr(torch.nn.LSTM, "forward", fail)
    assert device._bf16_problem(CPU) == "no such kernel"


@pytest.mark.parametrize(
    ("factor", "problem"), [(1.0, ""), (float("nan"), "its gradients are not finite")], ids=["finite", "nan"]
)
def test_a_trial_that_runs_is_judged_by_its_gradients(
    monkeypatch: pytest.MonkeyPatch, factor: float, problem: str
) -> None:
    """A layer that runs is no problem, unless its gradients are not finite."""

    def forward(layer: torch.nn.LSTM, x: torch.Tensor) -> tuple[torch.Tensor, None]:
        return factor * x * torch.stack([weight.sum() for weight in layer.parameters()]).sum(), None

    monkeypatch.setattr(torch.nn.LSTM, "forward", forward)
    assert device._bf16_problem(CPU) == problem


@pytest.mark.parametrize(("major", "fast"), [(7, False), (8, True), (9, True)])
def test_gpus_have_bf16_from_ampere_on(monkeypatch: pytest.MonkeyPatch, major: int, fast: bool) -> None:
    """Compute capability 8 and above multiplies bf16 in tensor cores."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (major, 0))
    answer, reason = device._bf16_is_fast(torch.device("cuda"))
    assert answer == fast
    assert reason


@pytest.mark.parametrize("probe", ["_is_avx512_bf16_supported", "_is_amx_tile_supported", ""])
def test_cpus_have_bf16_where_an_instruction_says_so(monkeypatch: pytest.MonkeyPatch, probe: str) -> None:
    """Either of the two instruction sets makes bf16 fast, and neither is an answer too."""
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name == probe, raising=False)
    answer, reason = device._bf16_is_fast(CPU)
    assert answer == bool(probe)
    assert reason


def test_other_devices_stay_with_fp32() -> None:
    """bf16 is not claimed to be fast where nobody measured it."""
    assert device._bf16_is_fast(torch.device("mps")) == (False, "bf16 is not measured on mps")


SHORT = "She sells sea shells by the sea shore.\n" * 9


def _train(device: torch.device) -> float:
    corpus = Corpus.from_text(SHORT * 4)
    config = nextchar.Config(
        steps=3, layers=2, hidden=12, embedding=8, batch_size=4, seq_length=16, learning_rate=0.01,
        weight_decay=0.01, dropout=0.0, valid=0.3, device=device.type,
    )  # fmt: skip
    return nextchar.evaluate(nextchar.train(corpus, config), SHORT).nats_per_char


def _small(device: torch.device) -> LanguageModel:
    return to_language_model(to_file(make_model(Corpus.from_text(SHORT).vocabulary)), device)


def _dynamic(device: torch.device) -> float:
    return nextchar.evaluate_dynamic(
        _small(device), SHORT[:100], SHORT, adaptation=nextchar.Adaptation(0.01, 0.01, segment=32)
    ).dynamic.nats_per_char


def _sample(device: torch.device) -> float:
    options = nextchar.SampleOptions(length=12, device=device.type, seed=3)
    samples = nextchar.sample(to_file(_small(torch.device("cpu"))), "She ", options, count=2)
    return float(np.mean([sample.nats_per_char for sample in samples]))


WORK: dict[str, Callable[[torch.device], float]] = {
    "training": _train,
    "scoring": lambda device: nextchar.evaluate(_small(device), SHORT).nats_per_char,
    "windows": lambda device: nextchar.evaluate(_small(device), SHORT, protocol="windows", window=32).bits_per_char,
    "dynamic": _dynamic,
    "calibration": lambda device: calibrate(_small(device).network, Corpus.from_text(SHORT)),
    "tracing": lambda device: float(trace(_small(device), SHORT).entropy.mean()),
    "reach": lambda device: float(nextchar.reach(_small(device), SHORT[:60], places=2).gradient.mean()),
    "sampling": _sample,
}


@pytest.mark.slow
@pytest.mark.parametrize("what", WORK)
def test_no_float64_outside_the_cpu(what: str) -> None:
    """On a device without float64, whose tensors are no arrays, everything runs, with the results of the CPU."""
    with other_device() as device:
        found = WORK[what](device)
    assert found == pytest.approx(WORK[what](CPU), rel=1e-4)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda x: x.double(), "no float64"),
        (lambda x: x.sum(dtype=torch.float64), "no float64"),
        (lambda x: torch.zeros(3, dtype=torch.float64, device=x.device), "no float64"),
        (lambda x: torch.linspace(0, 1, 3, dtype=torch.float64).to(x.device), "no float64"),
        (lambda x: x.numpy(), "numpy"),
        (np.asarray, "numpy"),
    ],
)
def test_the_simulated_device_finds_faults(fault: Callable[[torch.Tensor], object], message: str) -> None:
    """float64 on the device, however it is made, and an array of its memory are errors."""
    with other_device() as device, pytest.raises((TypeError, RuntimeError), match=message):
        fault(torch.ones(3, device=device))


def test_a_planted_float64_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A score that is summed in float64 before it is moved to the CPU fails on the simulated device."""
    planted = lambda logits, ids: surprisal(logits, ids).double()  # noqa: E731
    monkeypatch.setattr(score, "surprisal", planted)
    WORK["scoring"](CPU)
    with other_device() as device, pytest.raises(TypeError, match="no float64"):
        WORK["scoring"](device)
