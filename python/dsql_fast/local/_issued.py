"""Access keys in the form in which the AWS SDKs for Python take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.credentials import ReadOnlyCredentials

if TYPE_CHECKING:
    from typing_extensions import Self


class IssuedCredentials(ReadOnlyCredentials):  # type: ignore[misc]  # botocore ships no types
    """botocore's `ReadOnlyCredentials`, and whose they are.

    Attributes:
        name: The IAM user's or role's.
        arn: The IAM user's, or the role's session's; what AWS's errors say.
    """

    name: str
    arn: str

    def __new__(cls, *fields: str | None, name: str = "", arn: str = "") -> Self:
        # Positional as the base has them, so that copies and pickles can be made.
        made: Self = super().__new__(cls, *fields)
        made.name = name
        made.arn = arn
        return made

    def __repr__(self) -> str:
        # The tuple's own would show the secret.
        return f"<IssuedCredentials {self.access_key} of {self.arn}>"
