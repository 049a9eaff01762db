"""Keys and values in pages, as numbers, int8 or int4."""
import numpy as np

F32 = np.float32


def slots(call, sequence):
    """Where the tokens of a sequence lie: a page and a place in it each."""
    page = call["k_pages"].shape[1]
    token = np.arange(call["seq_len"][sequence])
    return call["block_table"][sequence][token // page], token % page


def read(call, name, head, where, width):
    """The vectors of a head at some slots, in f32."""
    stored = call[f"{name}_pages"][(*where, head)]
    scale = call.get(f"{name}_scale")
    if scale is None:
        return stored.astype(F32)
    scale = scale[(*where, head)].astype(F32)[:, None]
    if call.dtypes[f"{name}_pages"] == "i8":
        return stored.astype(F32) * scale
    zero = call[f"{name}_zero"][(*where, head)].astype(F32)[:, None]
    codes = np.stack([stored & 15, stored >> 4], axis=-1).reshape(len(stored), 2 * stored.shape[-1])[:, :width]
    return (codes.astype(F32) - zero) * scale
