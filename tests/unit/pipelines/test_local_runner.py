"""The end of a local run, without its stages."""

from pathlib import Path

import kfp.components
import kfp.local
import pytest

from maskline import Input, automl
from maskline.components.evaluation import measure
from maskline.pipelines import local_runner
from maskline.stages import JOURNAL_VARIABLE


def test_a_report_that_cannot_be_completed_is_what_the_run_failed_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Input(type="coco", path="data")
    job = automl.image_instance_segmentation(training_data=data, target_column_name="label")
    (tmp_path / "logs").mkdir()
    job.dump(tmp_path / "job.yaml")
    (tmp_path / "pipeline.yaml").touch()
    (tmp_path / "model.onnx").touch()
    journal = tmp_path / "logs" / local_runner.STAGES
    journal.write_text('{"stage": "onnx_export", "event": "ended", "reason": ""}\n', encoding="utf-8")
    monkeypatch.setenv(JOURNAL_VARIABLE, str(journal))

    def full(run: Path, report: Path) -> None:
        raise OSError(28, "No space left on device", str(report))

    monkeypatch.setattr(kfp.local, "init", lambda **settings: None)
    monkeypatch.setattr(kfp.components, "load_component_from_text", lambda text: lambda **arguments: None)
    monkeypatch.setattr(local_runner, "_deliver", lambda directory: None)
    monkeypatch.setattr(measure, "rebuild", full)
    with pytest.raises(OSError, match="No space left"):
        local_runner._run_pipeline(tmp_path, "subprocess")

    progress = local_runner.Progress()
    local_runner._read_journal(journal, progress)
    assert progress.stages["onnx_export"] == "done"
    told = local_runner._failure(progress, tmp_path)
    assert told.startswith("evaluation failed: OSError: [Errno 28] No space left on device")
    assert told.endswith(f"what was done before is in {tmp_path}: model.onnx")
