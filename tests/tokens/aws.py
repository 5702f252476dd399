"""AWS's services that give out credentials, on loopback: STS, the SSO portal, a container's endpoint, an instance's metadata.

Our own, not moto's: these check what they are sent (signatures with botocore's signer, tokens, external ids), and a test
says when their credentials end, what they answer next and when. What they give out the local cluster knows.
"""

from __future__ import annotations

import datetime as dt
import hmac
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, parse_qsl, urlsplit
from xml.sax.saxutils import escape

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from email.message import Message

    from typing_extensions import Self

ACCOUNT = "000000000000"
IMDS_TOKEN = "imdsSessionTokenNeverShown"
IMDS = "/latest/meta-data/iam/security-credentials/"


def role_arn(name: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:role/{name}"


@dataclass
class Role:
    """A role's trust policy: who may assume it, and what for."""

    trusted: set[str]
    external_id: str | None = None
    longest: int = 3600
    web_identity: str | None = None


@dataclass
class Request:
    """What came, as far as tests ask."""

    what: str
    key: str = ""
    region: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):  # noqa: N818 (the services words)
    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message


class Services:
    """The services on one port, while the `with` block lasts.

    Attributes:
        requests: what came, oldest first.
        roles: trust policies by ARN.
        life: seconds that what is given out lasts; None: as asked for, or an hour.
        sso_token, container_token: what must be shown to the portal and to the container's endpoint.
        imds_v1: requests without a session token are answered.
        imds_v2: session tokens are given.
        answers: ordered ones, (status, body), before any other; used up one by one.
        opened: while it is not set, no answer is given; `entered` counts those that wait.
    """

    def __init__(self, issue: Callable[..., Any]) -> None:
        self._issue = issue
        self._known: dict[str, tuple[ReadOnlyCredentials, str]] = {}
        self.requests: list[Request] = []
        self.roles: dict[str, Role] = {}
        self.life: float | None = None
        self.sso_token, self.container_token = "ssoTokenNeverShown", "containerTokenNeverShown"
        self.imds_v1, self.imds_v2 = False, True
        self.answers: list[tuple[int, str]] = []
        self.entered, self.opened = threading.Semaphore(0), threading.Event()
        self.opened.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.opened.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def keys(self, name: str, *, temporary: bool = False, **further: Any) -> Any:
        """Keys that the cluster and STS know."""
        issued = self._issue(name, temporary=temporary, **further)
        self._known[issued.access_key] = (ReadOnlyCredentials(*tuple(issued)[:3]), issued.arn)
        return issued

    def trust(self, name: str, *trusted: str, **policy: Any) -> str:
        """Make a role that the bearers of these keys' ARNs may assume; returns its ARN."""
        self.roles[role_arn(name)] = Role(set(trusted), **policy)
        return role_arn(name)

    def count(self, what: str) -> int:
        return sum(request.what == what for request in self.requests)

    def _given(self, name: str, session: str, seconds: float = 3600) -> tuple[Any, dt.datetime]:
        issued = self.keys(name, temporary=True, session=session)
        seconds = self.life if self.life is not None else seconds
        end = dt.datetime.now(dt.timezone.utc) + dt.timedelta(seconds=seconds)
        return issued, end.replace(microsecond=0)

    # Answers: (status, body).

    def answer(self, method: str, target: str, headers: Message, body: bytes) -> tuple[int, str]:
        where = urlsplit(target)
        route = {"/": self._sts, "/federation/credentials": self._sso, "/container": self._container}.get(
            where.path
        )
        try:
            if route is not None:
                return route(where.query, headers, body)
            return self._instance(method, where.path, headers)
        except Refusal as refusal:
            return self._refused(where.path, refusal)

    def _refused(self, path: str, refusal: Refusal) -> tuple[int, str]:
        if path != "/":
            return refusal.status, json.dumps({"__type": refusal.code, "message": refusal.message})
        return refusal.status, sts_error(refusal.code, refusal.message)

    def _ordered(self, request: Request) -> tuple[int, str] | None:
        self.requests.append(request)
        self.entered.release()
        assert self.opened.wait(60)
        return self.answers.pop(0) if self.answers else None

    def _sts(self, _: str, headers: Message, body: bytes) -> tuple[int, str]:
        fields = dict(parse_qsl(body.decode()))
        key, region = _signed_with(headers)
        request = Request(fields["Action"], key, region, fields)
        ordered = self._ordered(request)
        if ordered is not None:
            return ordered
        role = self.roles.get(fields["RoleArn"])
        if fields["Action"] == "AssumeRole":
            caller = self._caller(key, headers, body)
            allowed = role is not None and caller in role.trusted and role.external_id == fields.get("ExternalId")
            action = "sts:AssumeRole"
        else:
            assert "Authorization" not in headers
            caller = "unsigned"
            if role is not None and role.web_identity != fields["WebIdentityToken"]:
                raise Refusal(400, "InvalidIdentityToken", "The token is not this provider's")
            allowed, action = role is not None, "sts:AssumeRoleWithWebIdentity"
        if role is None or not allowed:
            message = f"User: {caller} is not authorized to perform: {action} on resource: {fields['RoleArn']}"
            raise Refusal(403, "AccessDenied", message)
        seconds = int(fields.get("DurationSeconds", "3600"))
        if seconds > role.longest:
            message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            raise Refusal(400, "ValidationError", message)
        name = fields["RoleArn"].rpartition("/")[2]
        given, end = self._given(name, fields["RoleSessionName"], seconds)
        return 200, _assumed(fields["Action"], given, end)

    def _caller(self, key: str, headers: Message, body: bytes) -> str:
        known = self._known.get(key)
        if known is None or (known[0].token or None) != headers.get("X-Amz-Security-Token"):
            raise Refusal(403, "InvalidClientTokenId", "The security token included in the request is invalid.")
        keys, arn = known
        wanted, canonical = _signature(keys, headers, body)
        if not hmac.compare_digest(wanted, headers["Authorization"].rpartition("Signature=")[2]):
            # As AWS has it, which repeats the whole request, with its session token.
            raise Refusal(403, "SignatureDoesNotMatch", f"The Canonical String should have been\n'{canonical}'")
        return arn

    def _sso(self, query: str, headers: Message, _: bytes) -> tuple[int, str]:
        fields = {name: values[0] for name, values in parse_qs(query).items()}
        ordered = self._ordered(Request("sso", fields=fields))
        if ordered is not None:
            return ordered
        if headers.get("x-amz-sso_bearer_token") != self.sso_token:
            raise Refusal(401, "UnauthorizedException", "Session token not found or invalid")
        given, end = self._given(fields["role_name"], "sso")
        keys = {"accessKeyId": given.access_key, "secretAccessKey": given.secret_key, "sessionToken": given.token}
        return 200, json.dumps({"roleCredentials": {**keys, "expiration": int(end.timestamp() * 1000)}})

    def _container(self, _: str, headers: Message, __: bytes) -> tuple[int, str]:
        ordered = self._ordered(Request("container"))
        if ordered is not None:
            return ordered
        if headers.get("Authorization") != self.container_token:
            raise Refusal(401, "", f"no such token: {headers.get('Authorization')}")
        return 200, self._metadata("task")

    def _instance(self, method: str, path: str, headers: Message) -> tuple[int, str]:
        ordered = self._ordered(Request(f"imds {method}"))
        if ordered is not None:
            return ordered
        if method == "PUT":
            return (200, IMDS_TOKEN) if self.imds_v2 else (403, "")
        token = headers.get("x-aws-ec2-metadata-token")
        if token != IMDS_TOKEN and not (token is None and self.imds_v1):
            return 401, ""
        return 200, "machine" if path == IMDS else self._metadata("machine")

    def _metadata(self, name: str) -> str:
        given, end = self._given(name, "metadata")
        keys = {"AccessKeyId": given.access_key, "SecretAccessKey": given.secret_key, "Token": given.token}
        return json.dumps({"Code": "Success", **keys, "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ")})


def sts_error(code: str, message: str) -> str:
    return (
        '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>{escape(message)}</Message></Error></ErrorResponse>"
    )


def _assumed(action: str, given: Any, end: dt.datetime) -> str:
    return (
        f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>'
        f"<AssumedRoleUser><AssumedRoleId>AROALOCAL:x</AssumedRoleId><Arn>{given.arn}</Arn></AssumedRoleUser>"
        f"<Credentials><AccessKeyId>{given.access_key}</AccessKeyId>"
        f"<SecretAccessKey>{given.secret_key}</SecretAccessKey><SessionToken>{given.token}</SessionToken>"
        f"<Expiration>{end.isoformat()}</Expiration></Credentials></{action}Result></{action}Response>"
    )


def _signed_with(headers: Message) -> tuple[str, str]:
    """The access key and the Region of a request's signature."""
    scope = headers.get("Authorization", "").partition("Credential=")[2].partition(",")[0].split("/")
    return (scope[0], scope[2]) if len(scope) == 5 else ("", "")


def _signature(keys: ReadOnlyCredentials, headers: Message, body: bytes) -> tuple[str, str]:
    """What the signature must be, and the canonical request that it is of."""
    signed = headers["Authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
    shown = {name: str(headers[name]) for name in signed}
    request = AWSRequest(method="POST", url=f"http://{headers['Host']}/", data=body, headers=shown)
    request.context["timestamp"] = headers["X-Amz-Date"]
    signer = SigV4Auth(keys, "sts", _signed_with(headers)[1])
    canonical = signer.canonical_request(request)
    return str(signer.signature(signer.string_to_sign(request, canonical), request)), str(canonical)


def _handler(services: Services) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, text = services.answer(self.command, self.path, self.headers, body)
            content = text.encode()
            try:
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                pass  # who asked has gone

        do_GET = do_POST = do_PUT = _serve  # noqa: N815 (http.server's names)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
