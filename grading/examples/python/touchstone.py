"""The process lane's protocol (grading/PROTOCOL.md) with the standard library and NumPy.

Copy this file beside your program:

    from touchstone import serve, Unsupported

    def softmax_topk(call):
        logits = call["logits"]                 # a NumPy array; bf16 comes as f32
        ...
        return {"prob": prob, "index": index, "lse": lse}

    serve({"softmax-topk": softmax_topk})       # operation -> function
"""
import json
import os
import struct
import sys

import numpy as np

DTYPES = {
    "u8": np.uint8, "i8": np.int8, "u16": np.uint16, "i16": np.int16, "u32": np.uint32,
    "i32": np.int32, "u64": np.uint64, "i64": np.int64, "f16": np.float16, "f32": np.float32,
    "f64": np.float64,
}


class Unsupported(Exception):
    """Raised by a function that does not do a call; it is then not counted as wrong."""


class Call:
    """A request: sizes and parameters by name, inputs as arrays."""

    def __init__(self, header, body):
        self.task, self.op = header["task"], header["op"]
        self.sizes, self.parameters = header["sizes"], header["parameters"]
        self.outputs = header["outputs"]
        self.dtypes, self._inputs = {}, {}
        for entry in header["inputs"]:
            raw = body[entry["offset"]:entry["offset"] + entry["bytes"]]
            self.dtypes[entry["name"]] = entry["dtype"]
            self._inputs[entry["name"]] = decode(raw, entry["dtype"], entry["shape"])

    def __getitem__(self, name):
        return self._inputs[name]

    def get(self, name, default=None):
        """An optional input."""
        return self._inputs.get(name, default)

    def asks_for(self, name):
        """Whether that output is asked for."""
        return any(output["name"] == name for output in self.outputs)


def decode(raw, dtype, shape):
    """Bytes to an array. NumPy has no bf16: it is the upper half of an f32."""
    if dtype == "bf16":
        bits = np.frombuffer(raw, np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32).reshape(shape)
    return np.frombuffer(raw, DTYPES[dtype]).reshape(shape)


def encode(array, dtype):
    """An array to bytes of that type; bf16 rounds to nearest, ties to even."""
    if dtype != "bf16":
        with np.errstate(over="ignore"):
            return np.ascontiguousarray(array, DTYPES[dtype]).tobytes()
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
    # Rounding must not carry a NaN over into infinity.
    return np.where(np.isnan(array), 0x7FC0, rounded).astype(np.uint16).tobytes()


def safetensors(outputs, arrays):
    """The outputs that were asked for, in that order."""
    table, data = {}, []
    at = 0
    for output in outputs:
        raw = encode(arrays[output["name"]], output["dtype"])
        table[output["name"]] = {
            "dtype": output["dtype"].upper(),
            "shape": list(np.shape(arrays[output["name"]])),
            "data_offsets": [at, at + len(raw)],
        }
        data.append(raw)
        at += len(raw)
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + b"".join(data)


def answer(functions, header, body):
    """The header and body of the answer to a request."""
    reply = {"nonce": header["nonce"]}
    function = functions.get(header["op"])
    if function is None:
        return dict(reply, unsupported=f"operation {header['op']}"), b""
    call = Call(header, body)
    try:
        return reply, safetensors(call.outputs, function(call))
    except Unsupported as why:
        return dict(reply, unsupported=str(why)), b""


def serve(functions):
    """Answers calls until there are no more."""
    requests = os.fdopen(int(os.environ["TOUCHSTONE_REQUEST_FD"]), "rb")
    answers = os.fdopen(int(os.environ["TOUCHSTONE_ANSWER_FD"]), "wb")
    while True:
        lengths = requests.read(16)
        if len(lengths) < 16:
            sys.exit(0)
        header_length, body_length = struct.unpack("<QQ", lengths)
        header = json.loads(requests.read(header_length))
        reply, body = answer(functions, header, requests.read(body_length))
        text = json.dumps(reply).encode()
        answers.write(struct.pack("<QQ", len(text), len(body)) + text + body)
        answers.flush()
