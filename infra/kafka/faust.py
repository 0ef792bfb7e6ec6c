"""Connection settings for aiokafka, and for Faust, which is built on it: addresses, SASL, TLS."""

from __future__ import annotations

import ssl
from typing import Any

import faust

from millrace.infra.settings import Settings


def aiokafka_config(settings: Settings) -> dict[str, Any]:
    """Settings that every client of aiokafka shares."""
    config: dict[str, Any] = {
        "bootstrap_servers": settings.kafka_bootstrap_servers.split(","),
        "security_protocol": settings.kafka_security_protocol,
        "ssl_context": _tls(settings),
    }
    if settings.kafka_security_protocol.startswith("SASL"):
        config["sasl_mechanism"] = settings.kafka_sasl_mechanism
        config["sasl_plain_username"] = settings.kafka_sasl_username
        config["sasl_plain_password"] = settings.kafka_sasl_password.get_secret_value()
    return config


def faust_credentials(settings: Settings) -> Any:
    """The same for a Faust app; None without SASL and TLS."""
    protocol = settings.kafka_security_protocol
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return faust.SSLCredentials(_tls(settings))
    return faust.SASLCredentials(
        username=settings.kafka_sasl_username,
        password=settings.kafka_sasl_password.get_secret_value(),
        mechanism=settings.kafka_sasl_mechanism,
        ssl_context=_tls(settings),
    )


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if not settings.kafka_security_protocol.endswith("SSL"):
        return None
    context = ssl.create_default_context(
        cafile=str(settings.kafka_ssl_ca) if settings.kafka_ssl_ca else None
    )
    if settings.kafka_ssl_certificate is not None:
        context.load_cert_chain(
            str(settings.kafka_ssl_certificate),
            str(settings.kafka_ssl_key) if settings.kafka_ssl_key else None,
        )
    return context
