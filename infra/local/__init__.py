"""A whole system on this machine.

```
system      starts and stops servers, topics, bucket and services
supervisor  supervisord, driven over its own Unix socket
unix_rpc    XML-RPC over a Unix socket
programs    the programs and their supervisord configuration
restarter   restarts programs that supervisord has given up
home        folders of a system, `var/` by default
lock        one system per home at a time
address     `system.json`: where commands find the running system
health      asks services whether they are ready
waiting     waits for a named condition, with a deadline
memory      peak memory of each program
leftovers   removes what earlier demonstrations left behind
```
"""
