"""Answers honestly, and logs what it can see and do."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "hostile"))
import wire  # noqa: E402


def tries(action):
    try:
        action()
        return True
    except OSError:
        return False


def write(path):
    with open(path, "w") as file:
        file.write("x")


print("starts empty:", os.listdir(".") == [])
print("writes its directory:", tries(lambda: write("file")))
beside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "written-by-a-sample")
print("writes beside its directory:", any([tries(lambda: write(beside)), tries(lambda: write("/tmp/written-by-a-sample"))]))
numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
print("sees other processes:", any(number not in (1, os.getpid()) for number in numbers))
print("holds descriptors:", sorted(fd for fd in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{fd}") or fd < 5))
with open("/proc/self/net/dev") as file:
    names = [line.split(":")[0].strip() for line in file if ":" in line]
print("network interfaces up:", [name for name in names if name != "lo"])
with open("/proc/self/status") as file:
    print("capabilities:", next(line for line in file if line.startswith("CapEff")).split()[1])
if hasattr(os, "unshare"):
    print("makes namespaces:", tries(lambda: os.unshare(os.CLONE_NEWUSER)))
else:
    import ctypes

    print("makes namespaces:", ctypes.CDLL(None).unshare(0x10000000) == 0)
if len(sys.argv) > 1:
    print("folder:", os.listdir(sys.argv[1]))
print("that is all", flush=True)
while True:
    wire.echo(*wire.request())
