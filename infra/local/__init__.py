"""A whole system on this machine.

```
system      starts and stops servers, topics, bucket and services
supervisor  supervisord, driven over its own Unix socket
unix_rpc    XML-RPC over a Unix socket
programs    the programs and their supervisord configuration
restarter   restarts programs that supervisord has given up on
home        folders of a system, `var/` by default
lock        one system per home at a time
address     `system.json`: addresses of the running system, for commands
health      queries services for their readiness
waiting     polls a named condition until it holds, with a deadline
memory      peak memory of each program
leftovers   removes topics, buckets and files of earlier demonstrations
```
"""
