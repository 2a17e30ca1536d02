"""KFP's own cache: unchanged data are prepared once, and changed data, labels or seeds again."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from maskline.inputs import Input
from maskline.job import ImageInstanceSegmentationJob
from maskline.sample_data import write_sample_data
from maskline.stages import pack

RUN = """
import json, sys
from kfp import dsl, local
from maskline.components.data_preparation.component import data_preparation
from maskline.components.data_snapshot.component import data_snapshot

@dsl.pipeline
def both(job: str, training_data: str, version: str) -> dsl.Dataset:
    data = {"training_data": training_data, "validation_data": "", "test_data": ""}
    snapshot = data_snapshot(job=job, data_version=version, **data)
    snapshot.set_caching_options(False)
    found = snapshot.outputs
    preparation = data_preparation(job=found["data_job"], digest=found["digest"], **data)
    return preparation.outputs["prepared"]

root, *runs = json.loads(sys.argv[1])
local.init(
    local.SubprocessRunner(use_venv=False), pipeline_root=root, raise_on_error=True, enable_caching=True
)
for values in runs:
    done = both(**values)
    print("PREPARED", done.output.metadata["digest"])
"""


def stages(journal):
    """Stages that ran, in their order."""
    lines = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    return [line["stage"] for line in lines if line["event"] == "ended"]


def make_job(place, seed=1, **more):
    return ImageInstanceSegmentationJob(
        training_data=Input(type="mltable", path=str(place)),
        target_column_name="label",
        training_parameters={"random_seed": seed, **more},
    )


@pytest.mark.local
def test_unchanged_data_are_prepared_once(tmp_path, monkeypatch):
    journal, place = tmp_path / "journal.jsonl", write_sample_data(tmp_path, pictures=12, size=64) / "train"
    monkeypatch.setenv("MASKLINE_STAGE_JOURNAL", str(journal))
    digests = []

    def run(job, version=""):
        """Which stages ran; one process a run, as a recurring run has it."""
        before = len(stages(journal))
        values = {"job": pack(job), "training_data": str(place), "version": version}
        asked = json.dumps([str(tmp_path / "root"), values])
        done = subprocess.run([sys.executable, "-c", RUN, asked], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        digests.append(done.stdout.rpartition("PREPARED ")[2].strip())
        return stages(journal)[before:]

    both, cached = ["data_snapshot", "data_preparation"], ["data_snapshot"]
    assert run(make_job(place)) == both
    assert run(make_job(place)) == cached
    # What has nothing to do with data doesn't have them prepared again.
    assert run(make_job(place, learning_rate=0.001)) == cached
    assert run(make_job(place, seed=2)) == both
    picture = sorted((place / "images").iterdir())[0]
    pixels = np.array(Image.open(picture))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(picture)
    assert run(make_job(place)) == both
    lines = place / "annotations.jsonl"
    lines.write_text(lines.read_text().replace('"disc"', '"coin"', 1))
    assert run(make_job(place)) == both
    assert run(make_job(place)) == cached
    assert digests[0] == digests[1] == digests[2]
    assert digests[5] == digests[6]
    assert len(set(digests)) == 4
