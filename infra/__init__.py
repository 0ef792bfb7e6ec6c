"""External systems and process infrastructure. Services depend on this, never the reverse.

```
kafka/        clients, connection errors, event publisher, registry feed
topics/       creation, settings, ids, incarnations and partitions of topics
progress/     committed offsets, output progress, lag, losses, balance
process/      parts of every service process: logs, metrics, watchdog, shutdown
archive/      the archive of topics in the object store
local/        a whole system on this machine: supervisor, programs, folders
embedded/     a real Kafka broker and S3 server without Docker
settings      settings of all services, read once from the environment
object_store  the S3 object store
declare       declares a model in the registry
files         files replaced in one step, and locks on files
terminal      the only console that prints: everything is escaped
bootstrap     sets up `.venv` and the servers' jars on a bare Python
prepare       creates topics and bucket on servers named by settings
ready         health check of a container
```
"""
