"""Each rule of the lint finds what it is for, in a pipeline that KFP itself compiles."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from kfp import compiler, dsl

from maskline.pipelines.lint import LARGEST_PARAMETER, lint


@dsl.component(base_image="python", install_kfp_package=False)
def make(text: str) -> str:
    return text


@dsl.component(base_image="python", install_kfp_package=False)
def use(item: int, text: str = "") -> str:
    return text + str(item)


@dsl.component(base_image="python", install_kfp_package=False)
def gather(texts: list[str]) -> str:
    return str(texts)


@dsl.component(base_image="python", install_kfp_package=False)
def listing() -> list[int]:
    return [1, 2]


@dsl.component(base_image="python", install_kfp_package=False)
def write() -> dsl.Dataset:
    return dsl.Dataset(uri=dsl.get_uri())


@dsl.component(base_image="python", install_kfp_package=False)
def read(data: dsl.Input[dsl.Dataset]) -> str:
    return data.uri


@pytest.fixture
def findings(tmp_path: Path) -> Callable[..., list[str]]:
    def of(function: Callable[..., object]) -> list[str]:
        file = tmp_path / "pipeline.yaml"
        compiler.Compiler().compile(dsl.pipeline(name="p")(function), str(file))
        return lint(next(yaml.safe_load_all(file.read_text())))

    return of


def test_a_sound_loop_passes(findings: Callable[..., list[str]]) -> None:
    def pipeline(text: str = "a") -> None:
        first = make(text=text)
        with dsl.ParallelFor(items=[0, 1], parallelism=2) as item:
            used = use(item=item, text=text).after(first).set_caching_options(False)
        gather(texts=dsl.Collected(used.output))

    assert findings(pipeline) == []


def test_a_parameter_of_another_task_in_a_loop(findings: Callable[..., list[str]]) -> None:
    def pipeline(text: str = "a") -> None:
        first = make(text=text)
        with dsl.ParallelFor(items=[0, 1]) as item:
            use(item=item, text=first.output).set_caching_options(False)

    (finding,) = findings(pipeline)
    assert "kfp.local replaces by the loop's item" in finding


def test_a_loop_over_a_tasks_list_is_no_such_case(findings: Callable[..., list[str]]) -> None:
    def pipeline() -> None:
        with dsl.ParallelFor(items=listing().output) as item:
            use(item=item).set_caching_options(False)

    assert findings(pipeline) == []


def test_caching_and_retries_in_a_loop(findings: Callable[..., list[str]]) -> None:
    def pipeline() -> None:
        with dsl.ParallelFor(items=[0, 1]) as item:
            use(item=item).set_retry(2)

    cached, retried = findings(pipeline)
    assert "is cached" in cached
    assert "has retries" in retried


def test_caching_by_the_name_of_an_artifact(findings: Callable[..., list[str]]) -> None:
    def pipeline() -> None:
        read(data=write().output)
        read(data=write().output).set_caching_options(False)

    (finding,) = findings(pipeline)
    assert finding.startswith("root/read: is cached by the name of an artifact")


def test_a_loop_that_ignores_its_item(findings: Callable[..., list[str]]) -> None:
    def pipeline(text: str = "a") -> None:
        with dsl.ParallelFor(items=[0, 1]):
            make(text=text).set_caching_options(False)

    (finding,) = findings(pipeline)
    assert "doesn't use the loop's item" in finding


def test_a_loop_in_a_loop(findings: Callable[..., list[str]]) -> None:
    def pipeline() -> None:
        with dsl.ParallelFor(items=[0, 1]) as outer:
            use(item=outer).set_caching_options(False)
            with dsl.ParallelFor(items=[2, 3]) as inner:
                use(item=inner).set_caching_options(False)

    assert any("a loop inside a loop" in finding for finding in findings(pipeline))


def test_a_loop_in_an_exit_handler(findings: Callable[..., list[str]]) -> None:
    def pipeline() -> None:
        with dsl.ExitHandler(make(text="end")), dsl.ParallelFor(items=[0, 1]) as item:
            use(item=item).set_caching_options(False)

    assert any("exit handler" in finding for finding in findings(pipeline))


def test_a_parameter_that_is_none(findings: Callable[..., list[str]]) -> None:
    def pipeline(text: str = None) -> None:  # type: ignore[assignment]  # noqa: RUF013
        make(text=text)

    (finding,) = findings(pipeline)
    assert "parameter text defaults to None" in finding


def test_a_parameter_that_is_too_long(findings: Callable[..., list[str]]) -> None:
    def pipeline(text: str = "x" * (LARGEST_PARAMETER + 1)) -> None:
        make(text=text)

    (finding,) = findings(pipeline)
    assert "parameter text has 100001 bytes" in finding


def test_a_parameter_with_what_argo_would_fill_in(findings: Callable[..., list[str]]) -> None:
    def pipeline(text: str = "s3://bucket/{{workflow.name}}", other: str = "{a} }}") -> None:
        make(text=text)
        make(text=other)

    (finding,) = findings(pipeline)
    assert finding.startswith("parameter text holds {{, which KFP takes for a placeholder")


def test_a_parameter_that_only_resources_in_a_loop_use(findings: Callable[..., list[str]]) -> None:
    def pipeline(gpus: int = 1) -> None:
        with dsl.ParallelFor(items=[0, 1]) as item:
            task = use(item=item).set_caching_options(False)
            task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)

    (finding,) = findings(pipeline)
    assert "takes pipelinechannel--gpus, which nobody hands to it" in finding
