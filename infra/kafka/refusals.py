"""Explains in one sentence why a server refuses a client, from the errors that the client reports.

librdkafka reports a wrong password, another protocol or an unknown host through its error
callback, while the request itself only times out with "transport failure". So the errors of the
callback decide the sentence: where, why, and which setting to change. Pure; the texts are those
of librdkafka 2.9, of S3 servers and of urllib3. No sentence holds a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from millrace.infra.settings import Settings

#: Errors that retrying does not resolve, by librdkafka's names.
LASTING: Final = frozenset({"_AUTHENTICATION", "_SSL", "_RESOLVE", "_INVALID_ARG"})
_RIGHTS: Final = frozenset(
    {
        "TOPIC_AUTHORIZATION_FAILED",
        "GROUP_AUTHORIZATION_FAILED",
        "CLUSTER_AUTHORIZATION_FAILED",
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    }
)
_PROTOCOL: Final = "MILLRACE_KAFKA_SECURITY_PROTOCOL"
_SERVERS: Final = "MILLRACE_KAFKA_BOOTSTRAP_SERVERS"
_NO_TLS: Final = "does not answer in TLS; check http or https in MILLRACE_S3_ENDPOINT"
_NO_HOST: Final = "cannot be found: its host's name is not known; check MILLRACE_S3_ENDPOINT"
#: urllib3's texts for an unreachable store, and ours.
_STORE_MARKS: Final = (
    ("WRONG_VERSION_NUMBER", _NO_TLS),
    ("record layer failure", _NO_TLS),
    ("CERTIFICATE_VERIFY_FAILED", "has a certificate that is not trusted; check SSL_CERT_FILE"),
    ("Failed to resolve", _NO_HOST),
    ("NameResolutionError", _NO_HOST),
    ("Connection refused", "refuses the connection; check MILLRACE_S3_ENDPOINT and the server"),
)


class Told(NamedTuple):
    """An error that a Kafka client reported.

    Attributes:
        name: Its name, such as ``_AUTHENTICATION``.
        text: In words.
    """

    name: str
    text: str


def kafka_trouble(told: Sequence[Told], settings: Settings) -> str:
    """Explain why Kafka cannot be used.

    Args:
        told: Errors that the client reported, oldest first, the failure of the request last.
        settings: The settings of the request.
    """
    where = f"Kafka at {settings.kafka_bootstrap_servers}"
    for error in sorted(told, key=lambda one: one.name not in LASTING | _RIGHTS):
        said = _sentence(error, settings)
        if said is not None:
            return f"{where} {said}"
    why = _plain(told[-1].text) if told else "nothing was heard"
    return f"{where} does not answer: {why}; check {_SERVERS} and the broker"


def _sentence(error: Told, settings: Settings) -> str | None:
    name, text = error
    protocol = settings.kafka_security_protocol
    user = settings.kafka_sasl_username
    if name == "_AUTHENTICATION":
        return _authentication(text, settings)
    if name in _RIGHTS:
        return (
            f"does not allow it to {f'the user {user}' if user else 'this client'}:"
            f" {_plain(text)}; give it the right with an ACL"
        )
    if name == "_RESOLVE":
        return f"cannot be found: its host's name is not known; check {_SERVERS}"
    if name == "_SSL":
        return (
            f"and this client do not trust each other: {_plain(text)}; check"
            " MILLRACE_KAFKA_SSL_CA, MILLRACE_KAFKA_SSL_CERTIFICATE and MILLRACE_KAFKA_SSL_KEY"
        )
    if name == "_INVALID_ARG":
        return f"cannot be asked with these settings: {_plain(text)}; check MILLRACE_KAFKA_SSL_*"
    return _transport(text, protocol)


def _transport(text: str, protocol: str) -> str | None:
    """Explain a failed or broken connection; None if the text gives no reason."""
    if "SSL_HANDSHAKE" in text:
        return f"does not answer in TLS; check {_PROTOCOL}, which is {protocol}"
    if "verify that security.protocol" in text or "APIVERSION_QUERY" in text:
        return f"ends the connection: it wants TLS or SASL; check {_PROTOCOL}, which is {protocol}"
    if "Connection refused" in text:
        return f"refuses the connection: nobody listens there; check {_SERVERS} and the broker"
    return None


def _authentication(text: str, settings: Settings) -> str:
    if "supported mechanisms:" in text:
        offered = text.rpartition("supported mechanisms:")[2].partition("(after")[0].strip()
        if not offered:
            return (
                f"knows no SASL on this port; check {_PROTOCOL}, which is"
                f" {settings.kafka_security_protocol}"
            )
        return (
            f"does not offer the SASL mechanism {settings.kafka_sasl_mechanism}, but {offered};"
            " check MILLRACE_KAFKA_SASL_MECHANISM"
        )
    user = settings.kafka_sasl_username or "without a name"
    return (
        f"refuses the user {user}: {_plain(text)}; check MILLRACE_KAFKA_SASL_USERNAME,"
        " MILLRACE_KAFKA_SASL_PASSWORD and MILLRACE_KAFKA_SASL_MECHANISM"
    )


def _plain(text: str) -> str:
    """A client's error text, without the address before it and the times after it."""
    words = text.partition(" (after ")[0]
    return words.rpartition("/bootstrap: ")[2].removeprefix("SASL authentication error: ")


def store_trouble(what: str, code: str, text: str, settings: Settings, bucket: str) -> str:
    """Explain why the object store cannot be used.

    Args:
        what: The operation that failed.
        code: The server's code, such as ``NoSuchBucket``; empty if no server answered.
        text: The error in words.
        settings: The settings of the request.
        bucket: The bucket.
    """
    where = f"object store {settings.s3_endpoint}"
    by_code = {
        "InvalidAccessKeyId": "does not know the access key; check MILLRACE_S3_ACCESS_KEY",
        "SignatureDoesNotMatch": "refuses the secret key; check MILLRACE_S3_SECRET_KEY",
        "NoSuchBucket": (
            f"has no bucket {bucket}; check MILLRACE_S3_BUCKET and MILLRACE_NAMESPACE"
        ),
        "AccessDenied": (
            f"does not allow to {what} with this key; give it the right on bucket {bucket}, or"
            " check MILLRACE_S3_ACCESS_KEY and MILLRACE_S3_SECRET_KEY"
        ),
    }
    if code in by_code:
        return f"{where} {by_code[code]}"
    for mark, said in _STORE_MARKS:
        if mark in text:
            return f"{where} {said}"
    return f"{where}: cannot {what}: {text}; check MILLRACE_S3_ENDPOINT, the keys and the server"
