import math
from copy import deepcopy
from itertools import pairwise
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nextchar.config import PRESETS, Config
from nextchar.model.network import Network
from nextchar.text.corpus import Corpus
from nextchar.training.autosize import (
    batch_rows,
    dropout,
    hidden_units,
    highest_rate,
    learning_rate,
    most_epochs,
    most_steps,
    plan,
    weight_decay,
)
from nextchar.training.clock import Clock
from nextchar.training.optimizer import (
    Cautious,
    Optimizer,
    clip,
    make_optimizer,
    optimizer_arrays,
    reference_update,
    restore_optimizer,
    set_rate,
)
from nextchar.training.schedule import is_sample_step, lr_factor

SIZED = plan(Config(steps=1, hidden=6, embedding=4, learning_rate=0.1, weight_decay=0.1), 1000, 5)


@pytest.mark.parametrize("lr_schedule", ["linear", "cosine"])
def test_the_schedule_warms_holds_and_falls(lr_schedule: Literal["linear", "cosine"]) -> None:
    """The factor rises to one, stays there for the fraction held, and ends near zero."""
    recipe = SIZED.replace(steps=100, warmup=10, lr_hold=0.5, lr_schedule=lr_schedule)
    factors = [lr_factor(step, 0, recipe, begin=0) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:51] == [1.0] * 42
    assert all(a > b for a, b in pairwise(factors[51:]))
    assert factors[75] == pytest.approx(0.5)
    assert factors[99] < 0.03


def test_while_it_holds_the_end_does_not_matter() -> None:
    """During the hold of the shorter run, two runs of different lengths have the same factors."""
    short = SIZED.replace(steps=100, warmup=10, lr_hold=0.3)
    for step in range(30):
        assert lr_factor(step, 0, short, begin=0) == lr_factor(step, 0, short.replace(steps=170), begin=0)


def test_an_exponential_schedule_decays_by_epoch() -> None:
    """The preset of the 2015 post multiplies by 0.97 from the tenth epoch on, and so does the schedule by default."""
    given = {**PRESETS["karpathy2015"], "steps": 10}
    for values in (given, {name: value for name, value in given.items() if name != "lr_decay"}):
        recipe = plan(Config.make(values), 10_000, 5)
        factors = [lr_factor(5, epoch, recipe, begin=0) for epoch in (0, 9, 10, 12)]
        assert factors == pytest.approx([1.0, 1.0, 0.97, 0.97**3])


def test_a_constant_schedule_is_constant() -> None:
    """After warm-up the factor is one to the last step, so the end of a run can move all the time."""
    recipe = SIZED.replace(steps=100, warmup=10, lr_schedule="constant")
    assert {lr_factor(step, 3, recipe, begin=0) for step in range(10, 100)} == {1.0}
    assert recipe.hold_fraction == 1.0


@given(
    fall=st.sampled_from(["linear", "cosine"]),
    hold=st.sampled_from([0.0, 0.3, 1.0]),
    decay=st.sampled_from([0.5, 0.97, 1.0]),
    step=st.integers(0, 99),
    epoch=st.integers(0, 15),
)
def test_the_schedules_of_version_0_1_0_keep_their_meaning(
    fall: str, hold: float, decay: float, step: int, epoch: int
) -> None:
    """Any combination of `fall`, `hold` and `decay`, which 0.1.0 allowed, gives the factor it gave there."""
    old = {"fall": fall, "hold": hold, "decay": decay, "decay_after": 3, "warmup": 10, "steps": 100}
    recipe = plan(Config.make(old), 1000, 5)
    progress = step / 100
    fallen = (progress - hold) / (1 - hold) if progress > hold else 0.0
    left = 0.5 * (1 + math.cos(math.pi * fallen)) if fall == "cosine" else 1 - fallen
    expected = min(1.0, (step + 1) / 10) * left * decay ** max(0, epoch - 3 + 1)
    assert lr_factor(step, epoch, recipe, begin=0) == pytest.approx(expected, rel=1e-12)


def test_samples_are_due_on_a_log_schedule() -> None:
    """Samples come at 10, 20, 30, 50, 70, 100 and so on."""
    assert [step for step in range(3000) if is_sample_step(step)] == [
        10,
        20,
        30,
        50,
        70,
        100,
        200,
        300,
        500,
        700,
        1000,
        2000,
    ]


def test_weight_decay_spares_biases_and_embedding() -> None:
    """Only matrices of the recurrence and the head are decayed."""
    network = Network(SIZED.architecture, 5)
    optimizer = make_optimizer(network, SIZED)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    named = {name for name, parameter in network.named_parameters() if id(parameter) in decayed}
    assert named == {f"layers.{n}.weight_{w}" for n in (0, 1) for w in ("ih", "hh")} | {"head.weight"}


def test_rmsprop_is_the_equation() -> None:
    """One step of RMSProp moves a weight by rate * g / sqrt((1 - decay) g^2), and the head's by as many times more as asked."""
    network = Network(SIZED.architecture, 5)
    before = deepcopy(network)
    optimizer = make_optimizer(network, SIZED.replace(optimizer="rmsprop", beta2=0.95, head_lr_multiplier=3.0))
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 2.0)
    optimizer.step()
    moved = 0.1 * 2.0 / (math.sqrt(0.05 * 4.0) + 1e-8)
    for (name, now), then in zip(network.named_parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(now, then - moved * (3.0 if name.startswith("head") else 1.0))


@pytest.mark.parametrize("optimizer", ["cautious", "adamw", "rmsprop"])
def test_the_head_has_a_rate_of_its_own_but_no_decay_of_its_own(optimizer: str) -> None:
    """Each step's rate reaches every group by its factor, and rate times decay is one and the same where there is decay."""
    made = make_optimizer(Network(SIZED.architecture, 5), SIZED.replace(optimizer=optimizer, head_lr_multiplier=4.0))
    set_rate(made, 0.01)
    assert sorted({group["lr"] for group in made.param_groups}) == pytest.approx([0.01, 0.04])
    decays = {group["lr"] * group["weight_decay"] for group in made.param_groups if group["weight_decay"]}
    assert list(decays) == pytest.approx([] if optimizer == "rmsprop" else [0.01 * 0.1])


def gradients(optimizer: Optimizer, seed: int) -> None:
    """Give every weight of an optimizer a random gradient."""
    generator = torch.Generator().manual_seed(seed)
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = torch.randn(weight.shape, generator=generator)


def test_the_first_cautious_step_is_adamws() -> None:
    """Nothing is remembered yet that a gradient could speak against."""
    one = Network(SIZED.architecture, 5)
    other = deepcopy(one)
    for network, name in ((one, "cautious"), (other, "adamw")):
        optimizer = make_optimizer(network, SIZED.replace(optimizer=name))
        gradients(optimizer, 0)
        optimizer.step()
    for mine, adamws in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, adamws, rtol=1e-5, atol=1e-6)


def test_a_cautious_step_moves_no_weight_against_its_gradient() -> None:
    """Where the gradient turns, a weight is only decayed, and the others go further; where it is 0, the memory leads."""
    weight = torch.nn.Parameter(torch.ones(4))
    optimizer = Cautious([{"params": [weight], "weight_decay": 0.5}], lr=0.1, betas=(0.5, 0.75))
    for gradient in ([1.0] * 4, [1.0] * 4, [1.0, -0.5, 1.0, 0.0]):
        weight.grad = torch.tensor(gradient)
        before = weight.detach().clone()
        optimizer.step()
    # After n equal gradients both means are 1 - beta^n of them; a third one of 0 leaves half of the one, 3/4 of the other.
    memory = (0.5 * (1 - 0.5**2) / (1 - 0.5**3)) / math.sqrt(0.75 * (1 - 0.75**2) / (1 - 0.75**3))
    expected = before * (1 - 0.1 * 0.5) - 0.1 * torch.tensor([1.0, 0.0, 1.0, memory]) * 4 / 3
    torch.testing.assert_close(weight.detach(), expected)


@pytest.mark.parametrize("share", [1 << 16, 64])
def test_compiled_cautious_steps_are_the_plain_ones(share: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six steps of every matrix, in one share or in several, leave what the equations leave."""
    monkeypatch.setattr("nextchar.training.optimizer.MIN_SHARE", share)
    one = Network(SIZED.architecture, 5)
    other = deepcopy(one)
    plain = make_optimizer(other, SIZED.replace(optimizer="cautious"))
    compiled = make_optimizer(one, SIZED.replace(optimizer="cautious"))
    remembered = {weight: (torch.zeros_like(weight), torch.zeros_like(weight)) for weight in other.parameters()}
    for step in range(1, 7):
        for optimizer in (plain, compiled):
            gradients(optimizer, step)
        compiled.step()
        with torch.no_grad():
            for group in plain.param_groups:
                for weight in group["params"]:
                    reference_update(weight, *remembered[weight], step, group)
    for mine, equations in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, equations, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "place"), [("cautious", "cpu"), ("adamw", "meta"), ("rmsprop", "cpu")])
def test_steps_are_counted_where_the_optimizer_wants_them(name: str, place: str) -> None:
    """What is put back lies beside its parameters; the count of steps does so only for a fused optimizer."""
    network, elsewhere = (Network(SIZED.architecture, 5) for _ in range(2))
    optimizer = make_optimizer(network, SIZED.replace(optimizer=name))
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    arrays = {name: torch.from_numpy(array) for name, array in optimizer_arrays(optimizer, network).items()}
    restore_optimizer(optimizer, elsewhere.to("meta"), arrays)
    for parameter in elsewhere.parameters():
        state = optimizer.state[parameter]
        assert state.pop("step").device.type == place
        assert {value.device.type for value in state.values()} == {"meta"}


def test_gradients_are_clipped_by_norm_and_by_element() -> None:
    """The whole gradient keeps its direction under a norm limit, and each element its bound under the other."""
    network = Network(SIZED.architecture, 5)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, 3.0)
    norm = clip(network, SIZED.replace(grad_clip_norm=1.0))
    assert norm == pytest.approx(3 * math.sqrt(network.size()), rel=1e-4)
    total = math.sqrt(sum(float((p.grad**2).sum()) for p in network.parameters() if p.grad is not None))
    assert total == pytest.approx(1.0, rel=1e-3)
    for parameter in network.parameters():
        parameter.grad = torch.full_like(parameter, -9.0)
    clip(network, SIZED.replace(grad_clip_norm=0.0, grad_clip_value=5.0))
    assert all(bool((p.grad == -5.0).all()) for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("characters", [20_000, 200_000, 1_000_000, 20_000_000, 1_000_000_000])
@pytest.mark.parametrize("seconds", [30, 60, 300, 3600, 86_400])
def test_any_budget_gives_a_sane_plan(characters: int, seconds: int) -> None:
    """From 20 KB to 1 GB and from half a minute to a day, the sizes are possible and the text is enough for them."""
    recipe = plan(Config(minutes=seconds / 60), characters, 100, 100e9)
    assert 64 <= recipe.hidden <= 2048
    assert 0.0 <= recipe.recurrent_dropout <= recipe.dropout <= 0.7
    assert recipe.chars_per_step <= characters
    most = most_steps(recipe, characters)
    assert 100 <= recipe.steps <= most
    assert most * recipe.chars_per_step == pytest.approx(most_epochs(characters) * characters, rel=0.01)


def test_more_compute_and_more_text_give_larger_networks() -> None:
    """H grows with the compute and, where it is short, with the text."""
    assert hidden_units(1e12, 10**7) < hidden_units(1e13, 10**7) < hidden_units(1e15, 10**7)
    assert hidden_units(1e17, 20_000) < hidden_units(1e17, 10**6) < hidden_units(1e17, 10**8)
    assert batch_rows(1e5, 64) <= batch_rows(1e7, 64) <= batch_rows(1e9, 64)


@given(
    epochs=st.tuples(st.floats(0, 99), st.floats(0, 99)), weights=st.tuples(st.floats(0.001, 9), st.floats(0.001, 9))
)
def test_dropout_grows_with_epochs_and_weights(epochs: tuple[float, float], weights: tuple[float, float]) -> None:
    """A text is learnt by heart by reading it often with many weights; either alone asks for less."""
    (seldom, often), (few, many) = sorted(epochs), sorted(weights)
    shares = [dropout(seldom, few), dropout(often, few), dropout(often, many)]
    assert 0.0 <= shares[0] <= shares[1] <= shares[2] <= 0.7
    assert dropout(8, 2) == pytest.approx(dropout(8, 4) - 0.08)


@given(epochs=st.tuples(st.floats(0, 9), st.floats(0, 9)))
def test_the_rate_rises_with_the_epochs(epochs: tuple[float, float]) -> None:
    """What is read once is learnt at half of the rate for what is read three times."""
    fewer, more = (learning_rate(0.03, each) for each in sorted(epochs))
    assert 0.0149 <= fewer <= more <= 0.03
    assert [learning_rate(0.03, each) for each in (1.5, 2.5)] == pytest.approx([0.015, 0.03])


def test_a_lower_rate_keeps_the_decay_of_a_step() -> None:
    """The decay that is given to AdamW is as many times higher as the rate is lower."""
    recipe = plan(Config(steps=2000, hidden=448, batch_size=32, seq_length=64), 10**8, 65, 1e11)
    assert (recipe.learning_rate, recipe.weight_decay) == pytest.approx(
        (highest_rate(448, 32 * 64) / 2, weight_decay(0.0) * 2), abs=1e-4
    )


def test_no_rate_is_rounded_to_nothing() -> None:
    """The rate of a wide network in steps of one character is small, and not 0."""
    recipe = plan(Config(steps=1, hidden=16384, batch_size=1, seq_length=1), 1000, 65, 1e11)
    expected = learning_rate(highest_rate(16384, 1), 0.0)
    assert recipe.learning_rate == pytest.approx(expected, rel=1e-3)
    assert 0 < expected < 5e-5


def test_a_budget_in_steps_needs_no_clock() -> None:
    """The plan for steps does not depend on the speed of the machine, and keeps what is given."""
    slow, fast = (plan(Config(steps=1000, hidden=96), 10**6, 65, flops) for flops in (1e9, 1e13))
    assert slow == fast
    assert slow.steps == 1000
    assert slow.hidden == 96


def test_a_clock_does_not_move_the_end_of_a_run_without_hold() -> None:
    """Where every step's rate depends on the end, the end stands."""
    clock = Clock(1e-9, 10**9)
    assert clock.review(10, 100, training_seconds=1.0, later=0.0, hold=0.0) is None


def test_short_texts_get_smaller_batches(text: str) -> None:
    """A text of 600 characters can still be trained on without a flag."""
    corpus = Corpus.from_text(text[:600])
    planned = plan(Config(steps=5), len(corpus), len(corpus.vocabulary), 1e11)
    assert planned.chars_per_step <= 600
