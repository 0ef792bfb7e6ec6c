"""What a client tells of a server that does not let it in, as a person should read it."""

from __future__ import annotations

import pytest

from millrace.infra.kafka.refusals import Told, kafka_trouble, store_trouble
from millrace.infra.settings import Settings

SETTINGS = Settings.read(
    kafka_bootstrap_servers="k:9094",
    kafka_security_protocol="SASL_SSL",
    kafka_sasl_mechanism="PLAIN",
    kafka_sasl_username="ada",
    kafka_sasl_password="secret",  # nobody's
    s3_endpoint="https://s3.example",
)
AT = "sasl_ssl://k:9094/bootstrap: "
DOWN = Told("_ALL_BROKERS_DOWN", "1/1 brokers are down")
LATE = Told("_TRANSPORT", "Failed to get metadata: Local: Broker transport failure")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (
            "_AUTHENTICATION",
            (
                f"{AT}SASL authentication error: Authentication failed: Invalid username or"
                " password (after 442ms in state AUTH_REQ)"
            ),
            (
                "refuses the user ada: Authentication failed: Invalid username or password; check"
                " MILLRACE_KAFKA_SASL_USERNAME, MILLRACE_KAFKA_SASL_PASSWORD and"
                " MILLRACE_KAFKA_SASL_MECHANISM"
            ),
        ),
        (
            "_AUTHENTICATION",
            (
                f"{AT}SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism:"
                " broker's supported mechanisms: SCRAM-SHA-256 (after 305ms in state AUTH)"
            ),
            (
                "does not offer the SASL mechanism PLAIN, but SCRAM-SHA-256; check"
                " MILLRACE_KAFKA_SASL_MECHANISM"
            ),
        ),
        (
            "_AUTHENTICATION",
            (
                f"{AT}SASL PLAIN mechanism handshake failed: Broker: Request not valid in"
                " current SASL state: broker's supported mechanisms:  (after 2ms in state X)"
            ),
            "knows no SASL on this port; check MILLRACE_KAFKA_SECURITY_PROTOCOL, which is SASL_SSL",
        ),
        (
            "_TRANSPORT",
            (
                f"{AT}Disconnected: verify that security.protocol is correctly configured, broker"
                " might require SASL authentication (after 4ms in state UP)"
            ),
            (
                "ends the connection: it wants TLS or SASL; check MILLRACE_KAFKA_SECURITY_PROTOCOL,"
                " which is SASL_SSL"
            ),
        ),
        (
            "_TRANSPORT",
            "ssl://k:9094/bootstrap: Disconnected (after 7ms in state SSL_HANDSHAKE)",
            "does not answer in TLS; check MILLRACE_KAFKA_SECURITY_PROTOCOL, which is SASL_SSL",
        ),
        (
            "_SSL",
            f"{AT}SSL handshake failed: certificate verify failed (after 3ms in state X)",
            (
                "and this client do not trust each other: SSL handshake failed: certificate verify"
                " failed; check MILLRACE_KAFKA_SSL_CA, MILLRACE_KAFKA_SSL_CERTIFICATE and"
                " MILLRACE_KAFKA_SSL_KEY"
            ),
        ),
        (
            "_RESOLVE",
            f"{AT}Failed to resolve 'k:9094': Name or service not known (after 19ms in state X)",
            "cannot be found: its host's name is not known; check MILLRACE_KAFKA_BOOTSTRAP_SERVERS",
        ),
        (
            "_TRANSPORT",
            f"{AT}Connect to ipv4#127.0.0.1:1 failed: Connection refused (after 0ms in state X)",
            (
                "refuses the connection: nobody listens there; check"
                " MILLRACE_KAFKA_BOOTSTRAP_SERVERS and the broker"
            ),
        ),
        (
            "TOPIC_AUTHORIZATION_FAILED",
            "Broker: Topic authorization failed",
            (
                "does not allow it to the user ada: Broker: Topic authorization failed; give it the"
                " right with an ACL"
            ),
        ),
    ],
)
def test_a_refusal_is_one_sentence(name: str, text: str, said: str) -> None:
    """Whatever else was told before and after; and never with the password."""
    found = kafka_trouble([DOWN, Told(name, text), LATE], SETTINGS)
    assert found == f"Kafka at k:9094 {said}"
    assert "secret" not in found


def test_what_is_not_known_is_told_as_it_is() -> None:
    """With the setting that is most likely wrong."""
    assert kafka_trouble([DOWN, LATE], SETTINGS) == (
        "Kafka at k:9094 does not answer: Failed to get metadata: Local: Broker transport failure;"
        " check MILLRACE_KAFKA_BOOTSTRAP_SERVERS and the broker"
    )


@pytest.mark.parametrize(
    ("code", "text", "said"),
    [
        ("InvalidAccessKeyId", "", "does not know the access key; check MILLRACE_S3_ACCESS_KEY"),
        ("SignatureDoesNotMatch", "", "refuses the secret key; check MILLRACE_S3_SECRET_KEY"),
        ("NoSuchBucket", "", "has no bucket b; check MILLRACE_S3_BUCKET and MILLRACE_NAMESPACE"),
        ("", "x [SSL: WRONG_VERSION_NUMBER] y", "does not answer in TLS; check http or https in"),
        ("", "Failed to resolve 's3.example'", "cannot be found: its host's name is not known;"),
        ("", "[Errno 111] Connection refused", "refuses the connection; check MILLRACE_S3_END"),
    ],
)
def test_a_refusal_of_the_store_is_one_sentence(code: str, text: str, said: str) -> None:
    """By the server's code, or by what the client says."""
    found = store_trouble("list a", code, text, SETTINGS, "b")
    assert found.startswith(f"object store https://s3.example {said}")
