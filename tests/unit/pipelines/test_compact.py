"""What is left of a compiled pipeline says the same."""

import io
import json
import subprocess
import sys

import pytest
import yaml

from maskline.pipelines.compact import COMMAND, shorten, write
from maskline.stages import NAMES


def test_what_is_written_is_what_was_there() -> None:
    documents = [
        {
            "components": {"a": {"x": [1, {"y": "{{$}}"}]}},
            "root": {"dag": {"tasks": {}}, "list": [[1], "z: #"]},
        },
        {"platforms": None, "text": "two\nlines — ü", "items": {"raw": "[0,0]"}},
    ]
    stream = io.StringIO()
    write(documents, stream)
    assert list(yaml.safe_load_all(stream.getvalue())) == documents
    assert "  a: {x: [1, {y: '{{$}}'}]}" in stream.getvalue().splitlines()


def test_what_is_left_out() -> None:
    container = {"command": ["sh", "-ec", "…", "def a(): ..."], "args": ["--function_to_execute", "a"]}
    described = {"parameters": {"job": {"parameterType": "STRING", "description": "the job"}}}
    loop = {"parameterIterator": {"items": {"raw": "[0, 0]"}, "itemInput": "item"}}
    ir = {
        "deploymentSpec": {"executors": {"exec-a": {"container": container}}},
        "components": {"comp-a": {"inputDefinitions": described}, "comp-b": {"dag": {"tasks": {"c": loop}}}},
        "root": {"dag": {"tasks": {"a": {}}}, "inputDefinitions": described},
    }
    shorten(ir)
    assert container == {"command": COMMAND, "args": ["--function_to_execute", "a"]}
    assert ir["components"]["comp-a"] == {
        "inputDefinitions": {"parameters": {"job": {"parameterType": "STRING"}}}
    }
    assert loop["parameterIterator"]["items"] == {"raw": "[0,0]"}


@pytest.mark.parametrize("name", NAMES)
def test_every_stage_is_found_by_its_name(name: str) -> None:
    """With inputs that are none, each door complains of its own."""
    empty = json.dumps({"inputs": {}, "outputs": {"outputFile": "/dev/null"}})
    command = [sys.executable, *COMMAND[1:], "--function_to_execute", name, "--executor_input", empty]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "maskline" in done.stderr
    assert "No module named" not in done.stderr
