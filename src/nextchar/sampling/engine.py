"""The packed engine: a model or an ensemble, packed once and used to generate any number of texts."""

from collections.abc import Sequence

from nextchar.errors import ConfigError, check_choice
from nextchar.kernels.packing import WeightKind
from nextchar.sampling.compiled import CompiledBackend, CompiledNetwork
from nextchar.sampling.protocol import Backend
from nextchar.storage import ModelFile, ModelSource, to_file
from nextchar.text.vocabulary import common_vocabulary


class Engine:
    """A model whose weights are packed for generation. It keeps no text: calls do not influence each other.

    Args:
        model: A LanguageModel, a ModelFile, or the path of a model file or run folder; or several models of
            one vocabulary, an ensemble, whose mean probability draws every character.
        weights: The kind of the packed weights: "fp32", "bf16" or "int8".
        device: "cpu" for the compiled step, without torch; or a torch device, with fp32 weights. "auto" is
            cuda where there is one, else cpu.

    Raises:
        ConfigError: The models differ in vocabulary, or the device has no such weights, or does not exist.

    Example:
        >>> engine = nextchar.Engine("runs/shakespeare")
        >>> nextchar.sample(engine, "ROMEO:")[0].text
    """

    def __init__(
        self,
        model: "ModelSource | Sequence[ModelSource]",
        weights: WeightKind = "fp32",
        device: str = "cpu",
    ) -> None:
        check_choice("weights", weights, WeightKind)
        models = model if isinstance(model, Sequence) and not isinstance(model, str) else [model]
        files = [to_file(each) for each in models]
        self.vocabulary = common_vocabulary([file.vocabulary for file in files])
        self.weights, self.device = weights, device
        self.backend: Backend = self._pack(files)

    def _pack(self, files: list[ModelFile]) -> Backend:
        if self.device != "cpu":
            if len(files) > 1 and self.device != "auto":
                raise ConfigError(
                    f"{len(files)} models were given, but on {self.device} only one can generate; use --device cpu"
                )
            if self.weights != "fp32":
                raise ConfigError(f"the weights are {self.weights}, but on {self.device} they are fp32")
            # Only a torch device needs torch.
            from nextchar.device import pick_device  # noqa: PLC0415
            from nextchar.sampling.cuda_graph import CudaGraphBackend  # noqa: PLC0415

            device = pick_device(self.device)
            if device.type != "cpu" and len(files) == 1:
                return CudaGraphBackend(files[0], device)
        return CompiledBackend([CompiledNetwork(file, self.weights) for file in files])
