"""The compiled pipelines of the example jobs; a difference is to be read, then kept with `make golden`."""

from pathlib import Path

import pytest
import yaml

from maskline import __version__, load_job
from maskline.pipelines.compiler import compile_job

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
JOBS = {"readme": ROOT / "tests/jobs/readme.yaml", "sample": ROOT / "pipelines/sample_job.yaml"}


@pytest.mark.parametrize("name", JOBS)
def test_compiled_as_before(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    compile_job(load_job(JOBS[name]), tmp_path / "pipeline.yaml")
    text = (tmp_path / "pipeline.yaml").read_text(encoding="utf-8")
    # What is another on every machine and in every version is no difference.
    text = text.replace(__version__, "VERSION").replace(str(ROOT), "ROOT")
    documents = list(yaml.safe_load_all(text))
    documents[0]["sdkVersion"] = "kfp"
    golden = HERE / f"{name}.yaml"
    if request.config.getoption("--write-golden"):
        golden.write_text(yaml.safe_dump_all(documents, sort_keys=True), encoding="utf-8")
    assert documents == list(yaml.safe_load_all(golden.read_text(encoding="utf-8")))
