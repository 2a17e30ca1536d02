"""What differs from Azure's defaults is listed with a reason, and nothing else is."""

from maskline.pipelines.azure_defaults import AZURE, OTHER_MEANING, OTHER_VALUE, azure_table
from maskline.settings import TrainingSettings

DEFAULTS = {name: field.default for name, field in TrainingSettings.model_fields.items()}


def test_azures_defaults_are_known_of_every_parameter() -> None:
    assert set(AZURE) == set(DEFAULTS)


def test_a_reason_for_every_difference_and_none_for_the_rest() -> None:
    assert set(OTHER_VALUE) == {name for name, value in DEFAULTS.items() if value != AZURE[name]}
    assert not set(OTHER_MEANING) & set(OTHER_VALUE)
    assert set(OTHER_MEANING) <= set(DEFAULTS)


def test_the_table_has_a_row_each() -> None:
    rows = azure_table().splitlines()[2:]
    assert len(rows) == len(OTHER_VALUE) + len(OTHER_MEANING)
    assert "| `warmup_cosine_lr_cycles` | `0.45` | `0.5` | the cosine ends at 0;" in azure_table()
    assert "| `early_stopping_patience` | `5` | the same | exactly so many" in azure_table()
