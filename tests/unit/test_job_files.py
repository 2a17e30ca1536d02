import io
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskline import Input, automl, load_job
from maskline.errors import JobError, KeywordError
from maskline.job import ImageInstanceSegmentationJob
from maskline.job_yaml import MAX_BYTES

JOBS = Path(__file__).parents[1] / "jobs"
HEAD = "type: automl\ntask: image_instance_segmentation\n"


def read(text: str) -> ImageInstanceSegmentationJob:
    return load_job(io.StringIO(text))


def problem(text: str | bytes) -> str:
    with pytest.raises(JobError) as caught:
        load_job(io.StringIO(text) if isinstance(text, str) else io.BytesIO(text))
    return str(caught.value)


def written(job: ImageInstanceSegmentationJob) -> str:
    stream = io.StringIO()
    job.dump(stream)
    return stream.getvalue()


@pytest.mark.parametrize("name", ["azure_explicit", "azure_distributions"])
def test_examples_in_azures_schema_load_and_round_trip(name: str, tmp_path: Path) -> None:
    job = load_job(JOBS / f"{name}.yaml")
    assert job.base_path == str(JOBS.absolute())
    job.dump(tmp_path / "job.yaml")
    again = load_job(str(tmp_path / "job.yaml"))
    assert again == job
    assert again.base_path == str(tmp_path)
    assert written(again) == written(job)


def test_a_file_as_azures_own_dump_writes_it() -> None:
    job = read(
        HEAD + "$schema: https://azuremlschemas.azureedge.net/latest/autoMLJob.schema.json\n"
        "creation_context: {created_at: '2026-01-01T00:00:00', created_by: me}\n"
        "id: azureml:/subscriptions/x\nstatus: Completed\nservices: {Studio: {endpoint: 'https://s'}}\n"
        "limits: {}\nlog_verbosity: info\noutputs: {}\nproperties: {}\ntags: {}\ninputs: {}\n"
        "search_space: []\n"
        "environment_variables: {}\n"
        "primary_metric: InstanceSegmentationPrimaryMetrics.MEAN_AVERAGE_PRECISION\n"
        "target_column_name: label\n"
        "training_data: {type: mltable, path: 'azureml:./train', mode: direct}\n"
        "training_parameters:\n  log_training_metrics: LogTrainingMetrics.ENABLE\n"
        "  log_validation_loss: LogValidationLoss.DISABLE\n  learning_rate_scheduler: warmup_cosine\n"
    )
    assert job.fixed_settings()["log_training_metrics"] == "enable"
    assert job.studio_url == "https://s"
    assert job.limits.plain() == {}
    assert read(written(job)) == job


def test_older_forms_of_a_search_space() -> None:
    job = read(
        HEAD + "search_space:\n"
        "  - {model_name: \"choice('a b', 'c,(d)')\", learning_rate: 'uniform(0.001,0.01)'}\n"
        "  - {number_of_epochs: 'quniform(1,9,2)', optimizer: sgd}\n"
    )
    assert job.search_space[0].model_name.values == ("a b", "c,(d)")
    assert job.search_space[1].optimizer == "sgd"
    assert read(written(job)) == job


def test_yaml_is_read_as_people_mean_it() -> None:
    job = read(
        HEAD + "name: 2026-01-01\ntags: {on: yes, n: 3, when: 2026-01-02, none: , flag: true}\n"
        "training_parameters: {early_stopping: yes, nesterov: off, learning_rate: 1e-3, min_size: 600.0, "
        "max_size: }\n"
    )
    assert job.name == "2026-01-01"
    assert job.tags == {"on": "yes", "n": "3", "when": "2026-01-02", "none": "", "flag": "true"}
    assert job.fixed_settings() == {
        "early_stopping": True,
        "nesterov": False,
        "learning_rate": 0.001,
        "min_size": 600,
    }
    assert read(written(job)) == job


def test_numbers_are_decimal() -> None:
    job = read(
        HEAD + "environment_variables: {UMASK: 022, START: 1:30, FLAG: 0x1f, WORD: trueish}\n"
        "training_parameters: {number_of_epochs: 010, learning_rate: 1.0e-2, weight_decay: .5, beta1: 0.9}\n"
    )
    assert job.environment_variables == {"UMASK": "022", "START": "1:30", "FLAG": "0x1f", "WORD": "trueish"}
    fixed = {"number_of_epochs": 10, "learning_rate": 0.01, "weight_decay": 0.5, "beta1": 0.9}
    assert job.fixed_settings() == fixed
    assert read(written(job)) == job


def test_anchors_and_merges_work() -> None:
    job = read(
        HEAD + "training_data: &data {type: mltable, path: a}\nvalidation_data: {<<: *data, path: b}\n"
        "test_data: *data\n"
    )
    assert (job.validation_data, job.test_data) == (Input(type="mltable", path="b"), job.training_data)
    assert "&" not in written(job)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "the job is empty"),
        ("# only a comment\n", "the job is empty"),
        ("- a\n- b\n", "a job is a mapping"),
        ("hello", "a job is a mapping"),
        (HEAD + "name: a\nname: b\n", "line 4: name is given twice"),
        (HEAD + "limits: {max_trials: 1, max_trials: 2}\n", "max_trials is given twice"),
        (HEAD + "name: [a\n", "line 4, column 1: not YAML"),
        (HEAD + "\tname: a\n", "not YAML"),
        (HEAD + "name: !!python/object/apply:os.getcwd []\n", "could not determine a constructor"),
        (HEAD + "name: *nothing\n", "undefined alias"),
        (HEAD + "tags: &a {b: *a}\n", "refers to itself"),
        (HEAD + "? [a]\n: b\n", "a key must be text"),
        (HEAD + "---\n" + HEAD, "not YAML"),
        (b"\xff\xfe\x00", "UTF-8"),
        (HEAD + "name: '\x01'\n", "not YAML"),
        ("[" * 5000, "nested too deeply"),
        (HEAD + f"name: {'x' * MAX_BYTES}\n", "larger than"),
        ("type: command\ntask: image_instance_segmentation\n", "type='command' is not legal; choose automl"),
        (
            "type: automl\ntask: text_ner\n",
            "task='text_ner' is not legal; choose image_instance_segmentation",
        ),
        ("name: x\n", "type is missing; write type: automl\ntask is missing"),
        (HEAD + "base_path: /x\n", "relative to the file"),
        (HEAD + "training_parameters: {min_sise: 3}\n", "training_parameters.min_sise is not a known name"),
        (HEAD + "1: 2\n", "1 is not a known name"),
    ],
)
def test_files_that_are_refused(text: str | bytes, words: str) -> None:
    assert words in problem(text)


def test_a_bomb_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 20)]
    assert "more than" in problem(HEAD + "\n".join(lines))


def test_sources_that_cant_be_read(tmp_path: Path) -> None:
    for source, words in (
        (tmp_path / "none.yaml", "doesn't exist"),
        (tmp_path, "is a folder"),
        (3, "a path or a stream"),
    ):
        with pytest.raises(JobError, match=words):
            load_job(source)
    closed = io.StringIO()
    closed.close()
    with pytest.raises(JobError, match="can't be read"):
        load_job(closed)


def test_streams_of_text_and_of_bytes(tmp_path: Path) -> None:
    job = automl.image_instance_segmentation(training_data=Input(path="ä"), target_column_name="label")
    with (tmp_path / "bytes.yaml").open("wb") as file:
        job.dump(file)
    with (tmp_path / "text.yaml").open("w", encoding="utf-8") as file:
        job.dump(file)
    memory = io.BytesIO()
    job.dump(memory)
    assert (tmp_path / "bytes.yaml").read_bytes() == memory.getvalue()
    with (tmp_path / "text.yaml").open("rb") as file:
        loaded = load_job(file)
    assert loaded == job
    assert loaded.base_path == str(tmp_path)


def test_dump_never_overwrites_and_says_what_is_wrong(tmp_path: Path) -> None:
    job = ImageInstanceSegmentationJob()
    file = tmp_path / "job.yaml"
    file.write_text("precious")
    with pytest.raises(FileExistsError, match="exists; remove it or choose another name"):
        job.dump(file)
    assert file.read_text() == "precious"
    with pytest.raises(FileNotFoundError, match="make the folder first"):
        job.dump(tmp_path / "none" / "job.yaml")
    with pytest.raises(OSError, match="is a folder"):
        job.dump(tmp_path)
    with file.open() as unwritable, pytest.raises(OSError, match="open it for writing"):
        job.dump(unwritable)
    closed = io.StringIO()
    closed.close()
    with pytest.raises(OSError, match="can't be written"):
        job.dump(closed)
    with pytest.raises(TypeError, match="neither a path nor a stream"):
        job.dump(123)


def test_unknown_keys_are_named_with_their_place() -> None:
    with pytest.raises(KeywordError) as caught:
        read(
            HEAD + "limits: {trial_time: 3, max_nodes: 2}\n"
            "sweep: {sampling_algorithm: random, seed: 1}\n"
            "search_space: [{min_size: 600}, {augmentations: 1}]\ntraining_dta: 1\n"
        )
    found = [line.split(" ")[0] for line in caught.value.problems]
    assert found == [
        "limits.trial_time",
        "limits.max_nodes",
        "sweep.seed",
        "search_space[1].augmentations",
        "training_dta",
    ]


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
texts = words.filter(bool)
fraction = st.floats(0.001, 0.999)
knob_values: dict[str, st.SearchStrategy[Any]] = {
    "learning_rate": fraction,
    "momentum": st.one_of(fraction, st.sampled_from([0, 1])),
    "number_of_epochs": st.integers(1, 10**9),
    "optimizer": st.sampled_from(["sgd", "AdamW", "StochasticOptimizer.NONE"]),
    "early_stopping": st.booleans(),
    "model_name": texts.filter(lambda t: "(" not in t),
    "layers_to_freeze": st.integers(0, 9),
    "min_size": st.integers(1, 4000),
}
fixed_values = knob_values | {
    "advanced_settings": st.builds(lambda x: {"metric_score_threshold": x}, fraction),
    "log_validation_loss": st.sampled_from(["enable", "Disable"]),
    "checkpoint_run_id": texts,
    "tile_grid_size": st.sampled_from(["3x2", "(3, 2)"]),
}


def ordered(low: float, high: float) -> st.SearchStrategy[dict[str, float]]:
    pair = st.tuples(st.floats(low, high), st.floats(low, high)).filter(lambda p: p[0] < p[1])
    return pair.map(lambda p: {"min_value": p[0], "max_value": p[1]})


def float_draws() -> st.SearchStrategy[Any]:
    q = st.floats(0.01, 1)
    around = st.fixed_dictionaries({"mu": fraction, "sigma": fraction})
    return st.one_of(
        st.builds(lambda d: {"type": "uniform", **d}, ordered(0.001, 0.9)),
        st.builds(lambda d: {"type": "loguniform", **d}, ordered(-9, -0.1)),
        st.builds(lambda d, q: {"type": "quniform", "q": q, **d}, ordered(0.001, 0.9), q),
        st.builds(lambda d, q: {"type": "qnormal", "q": q, **d}, around, q),
        st.builds(lambda d: {"type": "normal", **d}, around),
    )


def knob(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    choices = st.lists(values, min_size=1, max_size=3).map(lambda v: {"type": "choice", "values": v})
    return st.one_of(values, choices)


spaces = st.fixed_dictionaries(
    {}, optional={n: knob(v) for n, v in knob_values.items()} | {"beta1": float_draws()}
)
inputs = st.fixed_dictionaries(
    {"type": st.sampled_from(["mltable", "coco", "uri_file"]), "path": texts},
    optional={"mode": st.sampled_from(["direct", "ro_mount"])},
)
policies = st.one_of(
    st.builds(
        lambda f, i: {"type": "bandit", "slack_factor": f, "evaluation_interval": i},
        fraction,
        st.integers(0, 9),
    ),
    st.just({"type": "median_stopping"}),
    st.builds(lambda p: {"type": "truncation_selection", "truncation_percentage": p}, st.integers(1, 99)),
)
jobs = st.fixed_dictionaries(
    {},
    optional={
        "name": words,
        "display_name": words,
        "description": st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
        "compute": words,
        "experiment_name": words,
        "environment_id": words,
        "tags": st.dictionaries(words, st.one_of(words, st.integers(), st.booleans(), st.none()), max_size=3),
        "properties": st.dictionaries(words, words, max_size=3),
        "environment_variables": st.dictionaries(words, words, max_size=2),
        "training_data": inputs,
        "validation_data": inputs,
        "test_data": inputs,
        "validation_data_size": fraction,
        "test_data_size": fraction,
        "target_column_name": texts,
        "primary_metric": st.just("MeanAveragePrecision"),
        "log_verbosity": st.sampled_from(["info", "Debug", "NotSet"]),
        "limits": st.fixed_dictionaries(
            {}, optional={"max_trials": st.integers(1, 1000), "timeout_minutes": st.integers(1, 86400)}
        ),
        "sweep": st.fixed_dictionaries(
            {"sampling_algorithm": st.sampled_from(["random", {"type": "random", "seed": 3}, "Grid"])},
            optional={"early_termination": policies},
        ),
        "training_parameters": st.fixed_dictionaries({}, optional=fixed_values),
        "search_space": st.lists(spaces, max_size=3),
        "identity": st.sampled_from([{"type": "aml_token"}, {"type": "managed", "client_id": "x"}]),
        "queue_settings": st.just({"job_tier": "spot", "priority": "High"}),
        "resources": st.fixed_dictionaries(
            {}, optional={"instance_count": st.integers(1, 9), "shm_size": words}
        ),
        "outputs": st.dictionaries(texts, st.just({"type": "mlflow_model"}), max_size=2),
        "inputs": st.dictionaries(texts, st.one_of(inputs, words, st.integers(), st.booleans()), max_size=2),
        "id": words,
    },
)


@given(jobs)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_load_of_dump_is_the_job(fields: dict[str, Any]) -> None:
    job = ImageInstanceSegmentationJob(**fields)
    text = written(job)
    again = read(text)
    assert again == job
    assert written(again) == text
    assert isinstance(job.problems(check_data=False), list)
