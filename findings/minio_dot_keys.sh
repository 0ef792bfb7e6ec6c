#!/usr/bin/env bash
# The minio client refuses a key with a part "." or ".." before it sends anything, and does so with
# a bare ValueError. All other refusals of the client are MinioException or errors of urllib3, so a
# caller that catches these two for a key from a message ends at such a key.
# Guessed before: an S3Error or another MinioException.
#
# Exits with 0 while that is so, with 1 as soon as the client behaves otherwise.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

cat >"$folder/try.py" <<'PYTHON'
import sys
from importlib.metadata import version

from minio import Minio
from minio.error import MinioException

client = Minio("127.0.0.1:9", "key", "secret", secure=False, region="us-east-1")
print(f"minio {version('minio')}")
found = []
for key in ("models/./v1", "models/../v1"):
    try:
        client.get_object("bucket", key)
    except Exception as error:
        found.append((type(error).__name__, isinstance(error, MinioException)))
        print(f"  {key}: {type(error).__name__}: {error}; a MinioException: {found[-1][1]}")
sys.exit(0 if found == [("ValueError", False)] * 2 else 1)
PYTHON

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check minio==7.2.20
"$folder/venv/bin/python" "$folder/try.py" || { echo "changed"; exit 1; }
