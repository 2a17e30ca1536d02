"""How every stage starts, here and in its image."""

import os
import sys
from typing import Any

import pytest

from maskline.components import __main__ as entry


@pytest.mark.parametrize(("own", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_waiting_threads_of_a_stage_sleep_unless_the_user_says_otherwise(
    own: dict[str, str], policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = []

    class Executor:
        def __init__(self, executor_input: dict[str, Any], function_to_execute: Any) -> None:
            began.append(function_to_execute.__name__)

        def execute(self) -> None:
            began.append(os.environ["OMP_WAIT_POLICY"])

    stage = ["--function_to_execute", "data_preparation", "--executor_input", "{}"]
    monkeypatch.setattr(os, "environ", own)
    monkeypatch.setattr(sys, "argv", ["components", "kfp.dsl.executor_main", *stage])
    monkeypatch.setattr(entry, "Executor", Executor)
    entry.main()
    assert began == ["data_preparation", policy]
