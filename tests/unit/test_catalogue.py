"""The page of faults is what the tests say."""

import pytest

from scripts.catalogue import DOCUMENT, CatalogueError, document, rows_of

WHOLE = '''
@pytest.mark.slow
def test_H_01_half_sent_heads():
    """900 connections stop
    in mid-head.

    Happens: 408.
    Seen: `a{b="c|d"}`.
    """
'''


def test_the_page_of_faults_is_made_of_the_tests() -> None:
    assert DOCUMENT.read_text() == document(), "run `make catalogue`"


def test_a_row_is_the_name_and_the_docstring() -> None:
    [row] = rows_of(WHOLE, where="here")

    assert row == ("H", "01", "900 connections stop in mid-head.", "408.", '`a{b="c|d"}`.', True)


@pytest.mark.parametrize(
    "source",
    [
        WHOLE.replace("H_01_", ""),
        WHOLE.replace("H_01", "Z_01"),
        WHOLE.replace("Happens: 408.", ""),
        WHOLE.replace("Seen:", "Felt:"),
        WHOLE.replace("Happens: 408.", "Happens:"),
        "async def test_H_01_bare(): ...",
    ],
)
def test_a_test_that_says_too_little_is_an_error(source: str) -> None:
    with pytest.raises(CatalogueError, match="here"):
        list(rows_of(source, where="here"))
