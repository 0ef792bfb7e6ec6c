"""Prepares a data folder and builds the command line of a real S3 server on it.

S3Proxy serves a folder, on the loopback address only, to clients that have the key pair which
the first start generates. The folder::

    <home>/s3/lock              held by the running server
    <home>/s3/credentials.json  the key pair; readable by its owner only
    <home>/s3/data              one folder per bucket
    <home>/s3/s3proxy.conf      rewritten at each start; readable by its owner only
"""

import json
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import urllib3
from minio import Minio
from minio.error import MinioException

from millrace.contracts.errors import ServerError
from millrace.infra.embedded import instance, java
from millrace.infra.files import replace_file

DEFAULT_PORT = 9000
_HEAP_MIB = 256

_LOGBACK = """\
<configuration>
  <appender name="STDOUT" class="ch.qos.logback.core.ConsoleAppender">
    <encoder><pattern>%d{ISO8601} %p %c{0}: %m%n</pattern></encoder>
  </appender>
  <root level="warn"><appender-ref ref="STDOUT" /></root>
</configuration>
"""


@dataclass(frozen=True)
class Credentials:
    """The key pair of one installation."""

    access_key: str
    secret_key: str = field(repr=False)


class S3:
    """The object store of one home folder.

    Args:
        home: Folder for all embedded servers.
    """

    name = "s3"
    default_port = DEFAULT_PORT

    def __init__(self, home: Path) -> None:
        self.folder = home.resolve() / self.name
        self._temporary = self.folder / "tmp"

    def credentials(self) -> Credentials:
        """Read the key pair, generating it the first time.

        Raises:
            ServerError: The file is damaged.
        """
        path = self.folder / "credentials.json"
        try:
            return Credentials(**json.loads(path.read_text()))
        except FileNotFoundError:
            self.folder.mkdir(parents=True, exist_ok=True)
            pair = Credentials(secrets.token_hex(10), secrets.token_hex(20))
            replace_file(path, json.dumps(asdict(pair)))
            return pair
        except (ValueError, TypeError) as error:
            raise ServerError(
                f"{path} is damaged: remove it, and the next start generates new keys"
            ) from error

    def prepare(self, jars: Sequence[Path], port: int) -> list[str]:
        """Prepare the folder and build the command line. Call with the lock held.

        Args:
            jars: Class path.
            port: The server's port, free at this moment.
        """
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary.mkdir(parents=True)
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        pair = self.credentials()
        settings = {
            "s3proxy.endpoint": f"http://{instance.LOOPBACK}:{port}",
            "s3proxy.authorization": "aws-v2-or-v4",
            "s3proxy.identity": pair.access_key,
            "s3proxy.credential": pair.secret_key,
            "jclouds.provider": "filesystem-nio2",
            "jclouds.identity": "local",
            "jclouds.credential": "local",
            "jclouds.filesystem.basedir": str(data).replace("\\", "\\\\"),
        }
        configuration = self.folder / "s3proxy.conf"
        replace_file(configuration, "".join(f"{k}={v}\n" for k, v in settings.items()))
        logback = self.folder / "logback.xml"
        logback.write_text(_LOGBACK)
        return java.command(
            "org.gaul.s3proxy.Main",
            jars,
            ["--properties", str(configuration)],
            heap_mib=_HEAP_MIB,
            temporary=self._temporary,
            properties={"logback.configurationFile": str(logback), "LOG_LEVEL": "warn"},
        )

    def check(self, port: int, timeout_s: float) -> None:
        """List the buckets with this folder's key pair.

        Raises:
            ServerError: No server answers, or it rejects the key pair.
        """
        pair = self.credentials()
        with urllib3.PoolManager(timeout=timeout_s, retries=False) as http:
            client = Minio(
                endpoint=f"{instance.LOOPBACK}:{port}",
                access_key=pair.access_key,
                secret_key=pair.secret_key,
                secure=False,
                http_client=http,
            )
            try:
                client.list_buckets()
            except (MinioException, urllib3.exceptions.HTTPError) as error:
                raise ServerError(
                    f"the S3 server on port {port} does not answer as that of {self.folder}: "
                    f"{error}"
                ) from error
