# expect: wrong
# Searches every other process's memory for the answer, and has none of its own.
import os
import re

import honest


def found():
    secrets = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/maps") as maps, open(f"/proc/{name}/mem", "rb") as memory:
                for line in maps:
                    low, high, rights = re.match(r"(\w+)-(\w+) (\S+)", line).groups()
                    if rights.startswith("r"):
                        memory.seek(int(low, 16))
                        secrets.append(memory.read(int(high, 16) - int(low, 16)))
        except (OSError, ValueError, OverflowError):
            pass
    return secrets


def spied(header, body):
    # With somebody's memory in hand it could answer; zeros say that it has none.
    return honest.softmax_topk(header, body) if any(found()) else honest.zeros(header)


honest.serve(spied)
