"""What the stages hand to one another: file names and records. The only place that knows them.

prepared/                   data_preparation -> every other stage
    dataset.json            classes, splits, digest, counts of findings (see maskline.dataset)
    train.json  validation.json  [test.json]      COCO JSON, masks as compressed RLE
    findings.jsonl          one line for each record that was repaired or refused
    data_report.json        the numbers of the data report, which is an HTML file of its own
    pictures/               those that were copied into the data set
RUN/                        the run directory: what must outlive a pod
    study.journal           the sweep's study (see maskline.study)
    trials/N/               one trial, see TrialDirectory
    model/                  of the best trial, as trial_selection hands it over
    best_model/             as onnx_export hands it out
leaderboard/                trial_selection -> evaluation
    leaderboard.csv  leaderboard.png  trials.json
model/                      trial_selection -> evaluation, onnx_export
    checkpoint.safetensors  see maskline.checkpoint
    labels.json             class names, index 0 is the first class (there is no background here)
evaluation/
    metrics.json  predictions.json  predictions_bbox.json
    evaluation.json         what the report is made of besides: job, trials, settings, the data's place
best_model/                 what onnx_export hands out: all that is needed to use the model
    model.onnx  labels.json  parity.json  metrics.json  settings.json  checkpoint.safetensors
    README.md               the model card
    MLmodel  requirements.txt  python_env.yaml  conda.yaml      MLflow's layout
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

BEST = "best.safetensors"
CHECKPOINT = "checkpoint.safetensors"
DESCRIPTION = "maskline"
"""Key in a checkpoint's header under which it says what it is."""
NO_WEIGHT = "@"
"""Begins the names of tensors in a checkpoint that are no weights of the model."""
DATASET = "dataset.json"
DATA_NUMBERS = "data_report.json"
DATA_REPORT = "data_report.html"
FINDINGS = "findings.jsonl"
LABELS = "labels.json"
LEADERBOARD = "leaderboard.csv"
LEADERBOARD_PICTURE = "leaderboard.png"
LOG = "log.txt"
METRICS = "metrics.json"
BEST_MODEL = "best_model"
CARD = "README.md"
MLMODEL = "MLmodel"
SETTINGS = "settings.json"
MODEL_FOLDER = "model"
MODEL = "model.onnx"
PARITY = "parity.json"
PICTURES = "pictures"
PREDICTIONS = "predictions.json"
BOX_PREDICTIONS = "predictions_bbox.json"
EVALUATION = "evaluation.json"
REPORT = "report.html"
TRIALS = "trials.json"

TRIAL_RECORD = "trial record: "
"""Begins the lines of a slot's log that hold a trial's record as JSON."""

SplitName = Literal["train", "validation", "test"]
TrialState = Literal["waiting", "running", "complete", "terminated", "failed"]


@dataclass(frozen=True)
class TrialRecord:
    """What is known of one trial of a sweep.

    Attributes:
        number: 0, 1 ... in the order in which the trials were started.
        state: `complete` has a score and a checkpoint, `terminated` too, but was ended early; `failed` has a
            reason; `waiting` was interrupted, and goes on in a later slot.
        score: best value of the primary metric, 0 to 1; None until the first evaluation.
        best_epoch: epoch of that value, from 1.
        parameters: what the sampler chose for this trial, as the user named it.
        epochs_done: epochs trained so far; epochs: epochs asked for.
        seconds: wall time of the training so far.
        reason: why it failed or was ended early, in one line; empty otherwise.
        directory: the trial's directory (TrialDirectory), or the URI where its files are kept.
        curve: (epoch from 1, score) of every evaluation.
        device: what it trains on, as far as it is known.
        deaths: how often its process was killed or lost.
    """

    number: int
    state: TrialState
    score: float | None = None
    best_epoch: int | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    epochs_done: int = 0
    epochs: int = 0
    seconds: float = 0.0
    reason: str = ""
    directory: str = ""
    curve: tuple[tuple[int, float], ...] = ()
    device: str = ""
    deaths: int = 0

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "TrialRecord":
        """The inverse of `to_json`, also after a trip through a JSON file."""
        curve = tuple((int(epoch), float(score)) for epoch, score in data["curve"])
        return cls(**{**data, "curve": curve})


@dataclass(frozen=True)
class TrialDirectory:
    """The files of one trial, below the run directory."""

    path: Path

    @property
    def spec(self) -> Path:
        """What the training process is told: settings, data, limits (JSON)."""
        return self.path / "spec.json"

    @property
    def metrics(self) -> Path:
        """One JSON line an epoch: epoch (from 1), train_loss and its parts, learning_rate, images_per_second,
        data_seconds (spent waiting for pictures), seconds, and, where the epoch was evaluated, score and the
        metrics by name.
        """
        return self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        """Folder of the curves for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def best(self) -> Path:
        """Checkpoint of the best epoch."""
        return self.path / BEST

    @property
    def last(self) -> Path:
        """Checkpoint from which the training continues; of the last epoch, when it is over."""
        return self.path / "last.safetensors"

    @property
    def previous(self) -> Path:
        """The checkpoint before `last`, while the training runs."""
        return self.path / "previous.safetensors"

    @property
    def owner(self) -> Path:
        """Which supervisor the trial belongs to; another that finds itself here no more ends its process."""
        return self.path / "owner.txt"

    @property
    def process(self) -> Path:
        """Which process trains, or did: machine, number and start."""
        return self.path / "process.txt"

    @property
    def failure(self) -> Path:
        """Why the training process failed, in one line; only there if it did."""
        return self.path / "failure.txt"

    @property
    def log(self) -> Path:
        """What the training process printed."""
        return self.path / LOG
