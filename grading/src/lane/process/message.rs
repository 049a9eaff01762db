//! Requests and answers as bytes. `grading/PROTOCOL.md` describes them for those who write the
//! other side.

use crate::submission::{Call, Failure, Named};
use crate::tensor::{DType, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read};

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;

/// A header is names and numbers; a longer one is something else.
const MOST_HEADER: u64 = 1 << 20;

#[derive(Serialize)]
struct RequestHeader<'a> {
    protocol: u32,
    nonce: &'a str,
    task: &'a str,
    op: &'a str,
    sizes: &'a BTreeMap<String, u64>,
    parameters: BTreeMap<&'a str, serde_json::Value>,
    inputs: Vec<InputEntry<'a>>,
    outputs: Vec<OutputEntry<'a>>,
}

/// An input. With its place in the body nobody has to parse the body's own header.
#[derive(Serialize)]
struct InputEntry<'a> {
    name: &'a str,
    dtype: &'a str,
    shape: &'a [usize],
    offset: usize,
    bytes: usize,
}

#[derive(Serialize)]
struct OutputEntry<'a> {
    name: &'a str,
    dtype: &'a str,
    shape: &'a [usize],
}

/// The header of an answer. What it does not know is ignored.
#[derive(Debug, Deserialize)]
pub(super) struct AnswerHeader {
    pub(super) nonce: String,
    pub(super) unsupported: Option<String>,
    pub(super) error: Option<String>,
}

/// The bytes of a request.
pub(super) fn request(call: &Call, nonce: &str) -> Result<Vec<u8>, Failure> {
    let ours = |error: &dyn ToString| Failure::Grader(error.to_string());
    let body = safetensors(&call.inputs)?;
    let layout = SafeTensors::read_metadata(&body).map_err(|error| ours(&error))?;
    let (header_bytes, metadata) = layout;
    let mut inputs = Vec::new();
    for input in &call.inputs {
        let info = metadata.info(&input.name);
        let (start, end) = info.map_or((0, 0), |info| info.data_offsets);
        inputs.push(InputEntry {
            name: &input.name,
            dtype: input.tensor.dtype().name(),
            shape: input.tensor.shape(),
            offset: 8 + header_bytes + start,
            bytes: end - start,
        });
    }
    let outputs = call.outputs.iter().map(|output| OutputEntry {
        name: &output.name,
        dtype: output.dtype.name(),
        shape: &output.shape,
    });
    let mut parameters = BTreeMap::new();
    for (name, value) in &call.parameters {
        let value = serde_json::to_value(value).map_err(|error| ours(&error))?;
        parameters.insert(name.as_str(), value);
    }
    let header = serde_json::to_vec(&RequestHeader {
        protocol: PROTOCOL,
        nonce,
        task: call.task,
        op: call.op,
        sizes: &call.sizes,
        parameters,
        inputs,
        outputs: outputs.collect(),
    })
    .map_err(|error| ours(&error))?;
    let mut bytes = Vec::with_capacity(16 + header.len() + body.len());
    bytes.extend((header.len() as u64).to_le_bytes());
    bytes.extend((body.len() as u64).to_le_bytes());
    bytes.extend(header);
    bytes.extend(body);
    Ok(bytes)
}

/// Named tensors as safetensors.
pub(super) fn safetensors(tensors: &[Named]) -> Result<Vec<u8>, Failure> {
    let mut views = Vec::new();
    for Named { name, tensor } in tensors {
        let dtype = to_safetensors(tensor.dtype());
        let view = TensorView::new(dtype, tensor.shape().to_vec(), tensor.bytes());
        views.push((
            name,
            view.map_err(|error| Failure::Grader(error.to_string()))?,
        ));
    }
    safetensors::serialize(views, None).map_err(|error| Failure::Grader(error.to_string()))
}

fn to_safetensors(dtype: DType) -> Dtype {
    match dtype {
        DType::U8 => Dtype::U8,
        DType::I8 => Dtype::I8,
        DType::U16 => Dtype::U16,
        DType::I16 => Dtype::I16,
        DType::U32 => Dtype::U32,
        DType::I32 => Dtype::I32,
        DType::U64 => Dtype::U64,
        DType::I64 => Dtype::I64,
        DType::F16 => Dtype::F16,
        DType::Bf16 => Dtype::BF16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
    }
}

fn from_safetensors(dtype: Dtype) -> Option<DType> {
    DType::ALL
        .iter()
        .copied()
        .find(|ours| to_safetensors(*ours) == dtype)
}

/// The bytes of an answer.
#[derive(Debug)]
pub(super) struct RawAnswer {
    header: Vec<u8>,
    body: Vec<u8>,
}

/// Why no whole answer came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadError {
    /// The pipe was closed after so many bytes.
    Closed { after: u64 },
    /// The message says that it is longer than it may be.
    TooLong { bytes: u64, most: u64 },
    /// The header is longer than any header.
    Header { bytes: u64 },
}

/// Reads an answer with a body of at most `most_body` bytes. Nothing is allocated for bytes that
/// did not come.
pub(super) fn read_answer(from: &mut impl Read, most_body: u64) -> Result<RawAnswer, ReadError> {
    let mut before = 0;
    let lengths = read(from, 16, &mut before)?;
    let number = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&lengths[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let (header, body) = (number(0), number(8));
    if header > MOST_HEADER {
        return Err(ReadError::Header { bytes: header });
    }
    if body > most_body {
        return Err(ReadError::TooLong {
            bytes: body,
            most: most_body,
        });
    }
    Ok(RawAnswer {
        header: read(from, header, &mut before)?,
        body: read(from, body, &mut before)?,
    })
}

fn read(from: &mut impl Read, length: u64, before: &mut u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    // An error of a pipe is its end.
    let read: io::Result<usize> = from.take(length).read_to_end(&mut bytes);
    *before += bytes.len() as u64;
    if read.is_err() || (bytes.len() as u64) < length {
        return Err(ReadError::Closed { after: *before });
    }
    Ok(bytes)
}

impl RawAnswer {
    /// The outputs in the order in which they were asked for, when they are those; otherwise as
    /// they lie in the body.
    pub(super) fn outputs(&self, call: &Call, nonce: &str) -> Result<Vec<Named>, Failure> {
        let header: AnswerHeader = serde_json::from_slice(&self.header).map_err(|error| {
            let start = String::from_utf8_lossy(&self.header[..self.header.len().min(60)]);
            Failure::Malformed(format!(
                "the header of the answer is not one: {error}; it begins `{}`",
                start.escape_debug()
            ))
        })?;
        if header.nonce != nonce {
            return Err(Failure::Cheat(format!(
                "the answer to call {nonce} carries the nonce `{}`: it was not made for this call",
                header.nonce.chars().take(60).collect::<String>()
            )));
        }
        if let Some(why) = header.unsupported {
            return Err(Failure::Unsupported(why));
        }
        if let Some(why) = header.error {
            return Err(Failure::Crash(format!("the program says: {why}")));
        }
        let malformed = |error: &dyn ToString| {
            Failure::Malformed(format!(
                "the body of the answer is not safetensors: {}",
                error.to_string()
            ))
        };
        let parsed = SafeTensors::deserialize(&self.body).map_err(|error| malformed(&error))?;
        let (_, metadata) =
            SafeTensors::read_metadata(&self.body).map_err(|error| malformed(&error))?;
        let mut outputs = Vec::new();
        for name in metadata.offset_keys() {
            let view = parsed.tensor(&name).map_err(|error| malformed(&error))?;
            let dtype = from_safetensors(view.dtype()).ok_or_else(|| {
                Failure::Malformed(format!(
                    "output `{name}` is of the type {:?}, which no contract has",
                    view.dtype()
                ))
            })?;
            let tensor = Tensor::new(dtype, view.shape().to_vec(), view.data().to_vec())
                .map_err(|error| malformed(&error))?;
            outputs.push(Named { name, tensor });
        }
        // Safetensors names its tensors; writers sort them as they like.
        let place = |named: &Named| call.outputs.iter().position(|o| o.name == named.name);
        if outputs.iter().all(|output| place(output).is_some()) {
            outputs.sort_by_key(|output| place(output));
        }
        Ok(outputs)
    }
}

#[cfg(test)]
mod tests;
