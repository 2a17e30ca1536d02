"""What can go wrong, by name.

MasklineError
|-- JobError            what the user wrote is wrong; holds every problem found, not the first only
|   `-- KeywordError    a name that doesn't exist is among the problems; a TypeError too, as Python's own
|-- DataError           annotations or pictures can't be used
|-- StorageError        a file or folder can't be reached, read or written
|   |-- MissingError    it isn't there
|   `-- AwayError       the store didn't answer, several times: later it may
|-- WeightsError        pre-trained weights were asked for and can't be had
|-- CheckpointError     a checkpoint is damaged or belongs to another model
|-- ModelFileError      an ONNX file can't be predicted with
|-- StageError          a stage of the pipeline can't go on
|   |-- NoModelError    every trial of the sweep failed
|   `-- ParityError     the ONNX graph doesn't agree with the trained model
|-- VersionError        the compiled pipeline and the installed package differ
`-- ClusterError        Kubeflow Pipelines or Kubernetes can't be reached, or refuses
    `-- UnansweredError what was asked for may have been done

Every message states the value, the rule and the remedy.
"""

from collections.abc import Sequence


class MasklineError(Exception):
    """The root of all errors that Maskline raises on purpose."""


class JobError(MasklineError, ValueError):
    """A job that can't run as written.

    Attributes:
        problems: one line a problem, each naming the field, the value, the rule and the remedy.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class KeywordError(JobError, TypeError):
    """A job that names something that doesn't exist; says which name was meant."""


class DataError(MasklineError):
    """Annotations or pictures that can't be used; names the file and the line or id."""


class StorageError(MasklineError):
    """A file or folder that can't be reached, read or written; names it, and what to set."""


class MissingError(StorageError):
    """A file or folder isn't there."""


class AwayError(StorageError):
    """A store didn't answer, or not well, in several attempts; later it may."""


class WeightsError(MasklineError):
    """Pre-trained weights were asked for and can't be had; says how to get them."""


class CheckpointError(MasklineError):
    """A checkpoint is damaged, or belongs to another model."""


class ModelFileError(MasklineError):
    """An ONNX file is missing, damaged, none of Maskline's, or can't do what is asked of it."""


class StageError(MasklineError):
    """A stage of the pipeline can't go on; says why and what to do."""


class NoModelError(StageError):
    """Every trial of the sweep failed; lists the causes."""


class ParityError(StageError):
    """The ONNX graph doesn't agree with the trained model; names the picture."""


class VersionError(MasklineError):
    """The compiled pipeline and the installed package are of different versions."""


class ClusterError(MasklineError):
    """Kubeflow Pipelines or Kubernetes can't be reached, or refuses; says which, why and what to do.

    Attributes:
        problems: one line a problem.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class UnansweredError(ClusterError):
    """A request was sent and not answered in time: nobody knows whether it was done."""
