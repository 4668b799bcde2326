"""Which dose of a text belongs to which drug."""

import pytest

from medvl.metrics.extraction import facts_in_text
from medvl.types import Field

DRUGS = {"drugs.0.name": "Aspirin", "drugs.0.dose": "81 mg", "drugs.1.name": "Metformin", "drugs.1.dose": "500 mg"}
REFERENCE = "Aspirin 81 mg\nMetformin 500 mg"


def right(said):
    fields = [Field(path=path, value=value, type="value") for path, value in DRUGS.items()]
    return {field.path for field in facts_in_text(fields, said, [REFERENCE]).right}


@pytest.mark.parametrize(
    "pattern",
    [
        "{} aspirin, {} metformin",
        "{} aspirin; {} metformin",
        "{} aspirin and {} metformin",
        "{} aspirin {} metformin",
        "{} aspirin\n{} metformin",
        "{} of aspirin and {} of metformin",
        "{} (aspirin), {} (metformin)",
        "{} and {} of aspirin and metformin",
        "Takes {} of aspirin daily and {} of metformin daily.",
        "Takes {} of aspirin at 8:00 and {} of metformin at 20:00.",
        "2 tablets aspirin {}, 1 tablet metformin {}",
        "Aspirin {}, metformin {}",
        "Aspirin {} and metformin {}",
        "On 2020-01-01 aspirin {}, metformin {}",
        "Day 2 aspirin {} metformin {}",
        "Aspirin and metformin, {} and {}",
        "Aspirin and metformin {} and {} daily.",
        "Aspirin / metformin: {} / {}",
        "Aspirin and metformin at {} and {}, respectively",
        "Aspirin\n{}\nMetformin\n{}",
        "Aspirin\n  {}\nMetformin\n  {}",
        "- Aspirin\n- {}\n- Metformin\n- {}",
        "**Aspirin**\n{}\n\n**Metformin**\n{}",
    ],
)
def test_two_swapped_doses_are_two_wrong_facts(pattern):
    assert right(pattern.format("81 mg", "500 mg")) == set(DRUGS)
    assert right(pattern.format("500 mg", "81 mg")) == {"drugs.0.name", "drugs.1.name"}


@pytest.mark.parametrize(
    "said",
    [
        "Aspirin\nMetformin\n81 mg\n500 mg",
        "Aspirin\nMetformin\n500 mg\n81 mg",
        "Aspirin and metformin: 500 mg, 81 mg, 20 mg",
        "Aspirin\n\nMetformin\n\nNext visit\n500 mg",
    ],
)
def test_doses_that_cannot_be_told_apart_are_nobodys(said):
    assert right(said) == {"drugs.0.name", "drugs.1.name"}


def test_a_number_of_another_kind_is_no_second_dose():
    assert right("Aspirin and metformin 500 mg, 2 tablets") == set(DRUGS) - {"drugs.0.dose"}
    assert right("1. Aspirin 81 mg and metformin") == set(DRUGS) - {"drugs.1.dose"}
