"""Keys taken out of text that was written by somebody else."""

from collections.abc import Iterable

SHORTEST = 6


class Redactor:
    """Replaces every secret it was built with by `***`; one shorter than six characters would garble ordinary words."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({each for each in secrets if len(each) >= SHORTEST}, key=len, reverse=True)

    def knowing(self, more: Iterable[str]) -> "Redactor":
        """One that replaces these too: what was a secret once is one for ever."""
        return Redactor([*self._secrets, *more])

    def __call__(self, text: str) -> str:
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "***")
        return text
