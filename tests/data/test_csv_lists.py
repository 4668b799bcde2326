"""Values of CSV files whose lines look like rows of the table, and rows that an open quote made part of a value."""

import csv

import pytest

from medvl.data.sources.csv_rows import csv_rows
from medvl.data.sources.dropped import Dropped

EXCESS = "a malformed row: it has more values than the header"
OPEN = "a malformed row: a quote is not closed"
MEDICATIONS = "Medications:\nAspirin, 81 mg, daily\nMetformin, 500 mg, BID\nLisinopril, 10 mg, daily\nno others"
DATED = "Visits:\n2023-01-02,Aspirin,81 mg\n2023-01-03,Aspirin,81 mg\n2023-01-04,Aspirin,81 mg\n2023-01-05,none,0 mg"


@pytest.mark.parametrize(
    "rows",
    [
        [["a.png", "What drugs?", MEDICATIONS]],
        [["a.png", "What drugs?", MEDICATIONS.removesuffix("\nno others")]],
        [["a.png", MEDICATIONS, "yes"], ["b.png", "Why?", "so"]],
        [[MEDICATIONS, "a.png", "yes"]],
        [["7", "What drugs?", "List:\n1,Aspirin,81 mg\n2,Metformin,500 mg\n3,Lisinopril,10 mg\n4,none,0 mg"]],
        [["2023-01-01", "What drugs?", DATED]],
        [["a.png", "Labs?", "Na,140,mmol/L\nK,4.0,mmol/L\nCl,101,mmol/L\nMg,2.0,mg/dL\nCa,9.1,mg/dL"]],
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_list_in_a_value_is_no_row(tmp_path, rows, end):
    """The lines of the value have as many columns as the table."""
    path = tmp_path / "own.csv"
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator=end).writerows([["image", "question", "answer"], *rows])
    assert [list(row.values()) for row in csv_rows(path)] == rows


def test_a_list_in_a_row_with_too_many_values_is_no_row(tmp_path):
    path = tmp_path / "own.csv"
    path.write_text(
        'image,question,answer\na.png,Drugs?,"List:\nAspirin, 81 mg, daily\nnone",maybe\n'
        'b.png,"List:\nAspirin, 81 mg, daily\nnone, at",all, now\nc.png,Why?,so\n'
    )
    first, second, row = csv_rows(path)
    assert [(one.record, one.reason) for one in (first, second)] == [("lines 2 to 4", EXCESS), ("lines 5 to 7", EXCESS)]
    assert row == {"image": "c.png", "question": "Why?", "answer": "so"}


def test_swallowed_rows_of_files_are_found_again(tmp_path):
    path = tmp_path / "own.csv"
    rows = [f"images/{name}.png,Colour?,red" for name in "abcdefg"]
    rows[1], rows[5] = 'images/b.png,Colour?,"red', 'images/f.png,Height?,6"'
    path.write_text("\n".join(["image,question,answer", *rows]))
    found = list(csv_rows(path))
    lost = [(row.record, row.reason) for row in found if isinstance(row, Dropped)]
    assert lost == [("line 3", OPEN)]
    assert [row["image"] for row in found if isinstance(row, dict)] == [f"images/{name}.png" for name in "acdefg"]
