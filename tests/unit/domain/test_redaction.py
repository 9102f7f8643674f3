"""Keys taken out of other people's texts."""

from hypothesis import given
from hypothesis import strategies as st

from app.domain.redaction import MOST_RETIRED, SHORTEST, Redactor

SECRETS = st.lists(st.text("abcXYZ019-", min_size=SHORTEST, max_size=12), min_size=1, max_size=4)


@given(SECRETS, st.lists(st.text("qrs tuv", max_size=8), min_size=1, max_size=5))
def test_no_secret_is_left_whatever_stands_around_it(secrets: list[str], words: list[str]) -> None:
    redact = Redactor(secrets)

    left = redact("|".join([*words, *secrets, *words]))

    assert all(each not in left for each in secrets)
    assert all(word in left for word in words)


def test_every_occurrence_is_replaced() -> None:
    assert Redactor(["sk-secret"])("sk-secret or sk-secretsk-secret") == "*** or ******"


def test_the_longer_one_goes_first() -> None:
    redact = Redactor(["sk-secret", "sk-secret-longer"])

    assert redact("sk-secret-longer, sk-secret") == "***, ***"


def test_a_short_one_would_garble_words_and_stays() -> None:
    assert Redactor(["", "abcde"])("abcdef ") == "abcdef "
    assert Redactor(["abcdef"])("abcdef ") == "*** "


def test_without_secrets_a_text_is_left_alone() -> None:
    assert Redactor([])("anything at all") == "anything at all"


def test_what_was_a_secret_is_replaced_for_a_long_time_and_not_for_ever() -> None:
    redact = Redactor(["secret-0"])
    for number in range(1, MOST_RETIRED + 2):
        redact = redact.knowing(["sk-always", f"secret-{number}-"])

    assert redact(f"sk-always secret-{MOST_RETIRED + 1}- secret-2-") == "*** *** ***"
    assert redact("secret-0") == "secret-0"
