"""The table of training parameters, made from their one definition."""

from typing import Any

from pydantic import BaseModel

from maskline.advanced import AdvancedSettings
from maskline.rules import Rule
from maskline.settings import MODEL_DEFAULTS, TrainingSettings


def knob_table() -> str:
    """Every training parameter as a Markdown table, then the keys of advanced_settings."""
    rows = ["| parameter | value | default | meaning |", "| --- | --- | --- | --- |"]
    rows += _rows(TrainingSettings)
    rows += ["", "Keys of `advanced_settings`, a JSON object:", ""]
    rows += ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    rows += _rows(AdvancedSettings)
    rows += [""]
    for model, defaults in MODEL_DEFAULTS.items():
        changed = ", ".join(f"`{name}: {value}`" for name, value in defaults.items())
        rows.append(f"Defaults of `{model}` that differ: {changed}.")
    return "\n".join(rows) + "\n"


def _rows(model: type[BaseModel]) -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        meaning = " ".join((field.description or "").split())
        rule = Rule.of(field)
        noun = rule.noun.split(";")[0] if rule.kind != "other" else "text"
        found.append(f"| `{name}` | {noun} | {_default(field.default)} | {meaning} |")
    return found


def _default(value: Any) -> str:
    if value is None:
        return "–"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
