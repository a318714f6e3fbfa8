"""The packed engine: a model or an ensemble, packed once and used to generate any number of texts."""

from collections.abc import Sequence

from nextchar.architecture import WeightKind
from nextchar.errors import ConfigError, check_choice
from nextchar.sampling.compiled import CompiledBackend, CompiledNetwork
from nextchar.sampling.protocol import Backend
from nextchar.storage import ModelSource, members, to_file
from nextchar.text.vocabulary import common_vocabulary


class Engine:
    """A model whose weights are packed for generation. It keeps no text: calls do not influence each other.

    Args:
        model: A LanguageModel, a ModelFile, or the path of a model file or run folder; or several models of
            one vocabulary, an ensemble, whose mean probability draws every character, as is the folder of
            `nextchar train --members`.
        weights: The kind of the packed weights: "fp32", "bf16" or "int8". None for that of the model, which is fp32
            unless its file is smaller; and fp32 on a torch device, or if several models differ.
        device: "cpu" for the compiled step, without torch; or a torch device, for one model with fp32 weights.
            "auto" is cuda where there is one and it can be used, else cpu.

    Attributes:
        vocabulary: Of the model, or of all models.
        weights: The kind of the packed weights.
        device: Where it generates.
        backend: What generates.

    Raises:
        ConfigError: The models differ in vocabulary, or the device has no such weights, or does not exist.

    Example:
        >>> engine = nextchar.Engine("runs/shakespeare")
        >>> print(nextchar.sample(engine, "ROMEO:"))
    """

    def __init__(
        self, model: "ModelSource | Sequence[ModelSource]", weights: WeightKind | None = None, device: str = "cpu"
    ) -> None:
        if weights is not None:
            check_choice("weights", weights, WeightKind)
        files = [to_file(each) for each in members(model)]
        self.vocabulary = common_vocabulary([file.vocabulary for file in files])
        if weights is None:
            same = device in {"auto", "cpu"} and len({file.weights for file in files}) == 1
            weights = files[0].weights if same else "fp32"
        self.weights, self.device = weights, "cpu"
        self.backend: Backend
        if device not in {"auto", "cpu"}:
            if len(files) > 1:
                raise ConfigError(
                    f"{len(files)} models were given, but on {device} only one can generate; use --device cpu"
                )
            if weights != "fp32":
                raise ConfigError(f"the weights are {weights}, but on {device} they are fp32")
        if device != "cpu" and len(files) == 1 and weights == "fp32":
            # Only a torch device needs torch.
            from nextchar.device import pick_device  # noqa: PLC0415
            from nextchar.sampling.cuda_graph import CudaGraphBackend  # noqa: PLC0415

            picked = pick_device(device)
            if picked.type != "cpu":
                self.device, self.backend = picked.type, CudaGraphBackend(files[0], picked)
                return
        self.backend = CompiledBackend([CompiledNetwork(file, weights) for file in files])
