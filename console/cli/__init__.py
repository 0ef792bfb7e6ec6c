"""The command `millrace`.

```
main             runs the command line; reports errors in one line and an exit status
commands         all commands and their options
up               `millrace up`
status           `millrace status`
edge             `millrace edge`: the edge producers' own command line
predictions      `millrace predictions tail`
drift            `millrace drift list`
models           `millrace models`
topics           `millrace topics list` and `create`
topics_grow      `millrace topics grow`
archive          `millrace archive`
replay           `millrace replay`
what_if          `millrace replay --what-if-drift`
score            `millrace score`
compare          `millrace compare`
dead_letters/    `millrace dead-letters`
missing_modules  names the extra to install when a module is missing
```
"""
