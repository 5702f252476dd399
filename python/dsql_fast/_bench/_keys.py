"""Made-up keys and a made-up cluster for all who sign: nothing is sent."""

from __future__ import annotations

HOST, REGION = "foo0bar1baz2quux3quuux4q00.dsql.us-east-1.on.aws", "us-east-1"
KEY_ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "made-up"

# A session token or a profile left in the environment would be used along with the keys.
WITHOUT: dict[str, str | None] = dict.fromkeys(
    ("AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_CREDENTIAL_EXPIRATION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE")
)

ENVIRONMENT: dict[str, str | None] = {
    **WITHOUT,
    "CLUSTER_ENDPOINT": HOST,
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ACCESS_KEY_ID": KEY_ID,
    "AWS_SECRET_ACCESS_KEY": SECRET,
}
"""Variables for a signing program; None takes one away."""

# A peer's interpreter must find its own packages, not ours.
APART: dict[str, str | None] = {"PYTHONPATH": None, "PYTHONHOME": None, "PYTHONNOUSERSITE": "1"}
"""Variables for an interpreter of another environment."""
