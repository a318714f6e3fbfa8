"""`nextchar train --members M`: networks that differ in their seed, trained in turn, or one a process of torchrun."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nextchar.cli.console import print_json, shell_command
from nextchar.cli.flags import INTERRUPTED
from nextchar.config import DEFAULT_MINUTES, Config, to_toml
from nextchar.storage import CONFIG, MEMBER, MODEL, member_folders, read_model, write_text
from nextchar.training.folder import absolute

if TYPE_CHECKING:
    from nextchar.cli.train import Job
    from nextchar.training.run import Run

Train = Callable[["Job", "Run", list[str], dict[str, Any]], int]


def config_of(config: Config, number: int, count: int, world: int) -> Config:
    """Return the options of one member.

    Args:
        config: Those that were given. Minutes are for all members together, epochs and steps for each.
        number: Of the member, from 1.
        count: How many members there are.
        world: How many of them are trained at the same time.
    """
    changes: dict[str, Any] = {"seed": (config.seed + number - 1) % 2**31}
    if config.epochs is None and config.steps is None:
        changes["minutes"] = (config.minutes or DEFAULT_MINUTES) / -(-count // world)
    return config.replace(**changes)


def train_members(job: "Job", first: "Run", texts: list[str], train: Train) -> int:
    """Train all members of an ensemble into the folder of a run, each into a folder of its own.

    Args:
        job: How.
        first: What the run would be with one network.
        texts: As they were given.
        train: Trains one run.
    """
    from nextchar.training.record import remove_run  # noqa: PLC0415  torch takes long to import

    count = job.members
    if first.config.minutes is None and first.config.epochs is None and first.config.steps is None:
        job.console.print(f"{count} members share {DEFAULT_MINUTES:g} minutes; --minutes gives them more")
    remove_run(first.folder)
    (first.folder / CONFIG).unlink(missing_ok=True)
    for number in range(1, count + 1):
        member = config_of(first.config, number, count, job.ranks.world if job.ranks else 1)
        write_text(first.folder / f"{MEMBER}{number}" / CONFIG, to_toml(member, first.texts, first.init_from))
    return resume_members(job, first.folder, texts, {}, train)


def resume_members(job: "Job", folder: Path, texts: list[str], budget: dict[str, Any], train: Train) -> int:
    """Train the members of an ensemble that are not finished, or all of them with a new budget."""
    from nextchar.training.run import Run  # noqa: PLC0415  torch takes long to import

    rank, world = (job.ranks.rank, job.ranks.world) if job.ranks else (0, 1)
    members, code = member_folders(folder), 0
    if job.ranks and rank == 0:
        Run.open(members[0]).corpus(texts)  # which encodes the text, if it is new
        named = list(map(absolute, texts))
        job.ranks.broadcast({"do": "members", "folder": str(folder.absolute()), "texts": named, "budget": budget})
    if minutes := budget.get("minutes"):
        budget = {**budget, "minutes": minutes / -(-len(members) // world)}
    for place in members[rank::world]:
        run = Run.open(place)
        if run.finished and not budget:
            continue
        job.console.print(f"member {place.name.removeprefix(MEMBER)} of {len(members)}")
        own = replace(job, begun=time.monotonic(), json=False, hints=False, ranks=None, resumes=folder)
        if code := train(own, replace(run, texts=tuple(texts) or run.texts), texts, budget):
            break
    if job.ranks:
        job.ranks.agree()
    if not code and rank == 0:
        finished(job, folder, members)
    return INTERRUPTED if code else 0


def finished(job: "Job", folder: Path, members: list[Path]) -> None:
    """Say what there is now."""
    if job.hints:
        job.console.print(
            f"{folder} holds an ensemble of {len(members)} models, whose probabilities are averaged. Next:"
        )
        for words in (("sample", folder, "-n", 1000), ("evaluate", folder, "--split", "valid")):
            job.console.print(f"  {shell_command('nextchar', *words)}")
    if job.json:
        models = [read_model(member) for member in members]
        rows = [
            {
                "run": str(place),
                "model": str(place / MODEL),
                "seed": model.config.get("seed"),
                **_numbers(model.provenance),
            }
            for place, model in zip(members, models, strict=True)
        ]
        parameters = sum(model.architecture.parameters(len(model.vocabulary)) for model in models)
        seconds = round(time.monotonic() - job.begun, 3)
        both = {"run": str(folder), "model": str(folder), "steps": sum(row["steps"] for row in rows)}
        print_json({**both, "seconds": seconds, "parameters": parameters, "members": rows})


def _numbers(provenance: dict[str, Any]) -> dict[str, Any]:
    return {"steps": provenance.get("steps", 0), **{name: provenance.get(name) for name in ("epochs", "valid")}}
