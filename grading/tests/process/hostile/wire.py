"""The protocol with nothing but the standard library, for programs that misuse it."""
import json
import os
import struct

REQUESTS = int(os.environ["TOUCHSTONE_REQUEST_FD"])
ANSWERS = int(os.environ["TOUCHSTONE_ANSWER_FD"])


def read_exactly(count):
    data = b""
    while len(data) < count:
        piece = os.read(REQUESTS, count - len(data))
        if not piece:
            raise SystemExit(0)
        data += piece
    return data


def request():
    """The next request: its header and its body."""
    header, body = struct.unpack("<QQ", read_exactly(16))
    return json.loads(read_exactly(header)), read_exactly(body)


def tensor(header, body, name):
    entry = next(e for e in header["inputs"] if e["name"] == name)
    return body[entry["offset"]:entry["offset"] + entry["bytes"]]


def safetensors(tensors):
    table, data = {}, b""
    for name, dtype, shape, raw in tensors:
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(table).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def message(header, body):
    text = json.dumps(header).encode()
    return struct.pack("<QQ", len(text), len(body)) + text + body


def write(data):
    while data:
        data = data[os.write(ANSWERS, data):]


def echo(header, body):
    """The right answer of the test's call: `y` is `x`."""
    shape = header["outputs"][0]["shape"]
    tensors = safetensors([("y", "F32", shape, tensor(header, body, "x"))])
    write(message({"nonce": header["nonce"]}, tensors))
