"""Settings: read once at start-up from the environment; frozen from then on.

Every setting is ``MILLRACE_<NAME>``. Without any, Millrace uses its embedded servers, whose
addresses `console` and the tests put into the environment of the processes that they start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from millrace.contracts.errors import SettingsError


class FromEnvironment(BaseSettings):
    """Frozen settings; an error about a value names its environment variable."""

    @classmethod
    def read(cls, **overrides: object) -> Self:
        """Read the environment.

        Args:
            overrides: Settings that take precedence over the environment, by name.

        Raises:
            SettingsError: A value is not usable; names it and the reason.
        """
        try:
            return cls(**overrides)  # type: ignore[arg-type]  # pydantic checks them
        except ValidationError as error:
            first = error.errors()[0]
            name = str(cls.model_config.get("env_prefix")) + "_".join(map(str, first["loc"]))
            raise SettingsError(
                f"{name.upper()}: {first['msg']}; got {first['input']!r}"
            ) from error


class Settings(FromEnvironment):
    """All settings of all services.

    Attributes:
        home: Folder for what is kept on this machine: servers' data, jars, run files.
        namespace: Prefix of topics, consumer groups, transactional ids and the bucket, so
            that several systems share one broker without meeting.
        kafka_bootstrap_servers: Addresses of the brokers.
        kafka_security_protocol: How to speak to them.
        kafka_sasl_mechanism: SASL mechanism, with a SASL protocol.
        kafka_sasl_username: SASL user.
        kafka_sasl_password: SASL password.
        kafka_ssl_ca: PEM file of the authority that signed the brokers' certificates.
        kafka_ssl_certificate: PEM file of our own certificate, for mutual TLS.
        kafka_ssl_key: PEM file of its key.
        kafka_partitions: Partitions of the topics keyed by asset, when they are created.
        kafka_replication: Replicas of each partition, when created.
        s3_endpoint: ``http://host:port`` or ``https://host`` of the object store.
        s3_access_key: Its access key.
        s3_secret_key: Its secret key.
        s3_region: Its region, if it asks for one.
        s3_bucket: The bucket, before the namespace.
        replica: Name of this process among its like; unique per consumer group.
        telemetry_host: Address on which metrics and health are served.
        telemetry_port: Port of the same; 0 chooses a free one.
        log_format: ``text`` for people, ``json`` for machines.
        log_level: Least severe level that is written.
        monitoring: Whether the stream processor joins outcomes and detects drift; if not, it only
            judges, normalises and stamps windows.
        input_detectors: Drift detectors of each sensor; see `drift.selection`.
        error_detectors: Those of a forecast's error.
        skill_detectors: Those of its skill against persistence.
        fault: Faults to inject, for tests; see `infra.process.fault_points`.
        fault_marks: Folder for the marks of those that have happened.
    """

    model_config = SettingsConfigDict(env_prefix="MILLRACE_", frozen=True, extra="ignore")

    home: Path = Path("var")
    namespace: str = Field(default="", pattern=r"^[a-z0-9.-]*$", max_length=40)
    kafka_bootstrap_servers: str = "127.0.0.1:9092"
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_sasl_username: str = ""
    kafka_sasl_password: SecretStr = SecretStr("")
    kafka_ssl_ca: Path | None = None
    kafka_ssl_certificate: Path | None = None
    kafka_ssl_key: Path | None = None
    kafka_partitions: int = Field(default=4, ge=1)
    kafka_replication: int = Field(default=1, ge=1)
    s3_endpoint: str = Field(default="http://127.0.0.1:9000", pattern=r"^https?://[^/]+/?$")
    s3_access_key: str = ""
    s3_secret_key: SecretStr = SecretStr("")
    s3_region: str = "us-east-1"
    s3_bucket: str = Field(default="millrace", pattern=r"^[a-z0-9.-]{3,40}$")
    replica: str = Field(default="0", pattern=r"^[A-Za-z0-9_.-]+$")
    telemetry_host: str = "127.0.0.1"
    telemetry_port: int = Field(default=0, ge=0, le=65535)
    log_format: Literal["text", "json"] = "text"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    monitoring: bool = True
    input_detectors: str = "PageHinkley"
    error_detectors: str = "PageHinkley"
    skill_detectors: str = "PageHinkley"
    fault: str = ""
    fault_marks: Path = Path()

    def named(self, name: str) -> str:
        """Put a topic, group or transactional id into the namespace."""
        return f"{self.namespace}.{name}" if self.namespace else name

    def environment(self) -> dict[str, str]:
        """Environment variables from which `read` makes these settings; secrets included."""
        return {
            f"MILLRACE_{name.upper()}": value.get_secret_value()
            if isinstance(value, SecretStr)
            else str(value)
            for name, value in self.model_dump().items()
            if value is not None
        }

    @property
    def bucket(self) -> str:
        """The bucket, in the namespace."""
        return f"{self.s3_bucket}-{self.namespace}" if self.namespace else self.s3_bucket
