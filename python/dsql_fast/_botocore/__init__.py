"""What is asked of botocore: its chain of credentials, the end of credentials, a profile's Region, STS.

Imported when it is first needed, and botocore with the first session: a token from the environment's keys needs
neither. Of botocore's errors only what is known to hold no secret is repeated (`_failures`).
"""

from __future__ import annotations

from ._chains import ask, chain_for, freeze, region_of
from ._failures import instance_advice
from ._sts import assume_role

__all__ = ["ask", "assume_role", "chain_for", "freeze", "instance_advice", "region_of"]
