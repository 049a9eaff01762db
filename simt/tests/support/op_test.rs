//! The comment header of an op test.

use super::element::{Dtype, Element};

/// A buffer the entry gets the address of.
#[derive(Debug)]
pub struct Buffer {
    pub name: String,
    pub dtype: Dtype,
    pub length: usize,
    /// Contents before the launch; without them the buffer arrives poisoned.
    pub initial: Option<Vec<u8>>,
    /// What must be there afterwards; without it, what was there before.
    pub expect: Option<Vec<Element>>,
}

/// A whole test.
#[derive(Debug)]
pub struct OpTest {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub cluster: [u32; 3],
    pub shared: u32,
    /// Checkers that must find something.
    pub finds: Vec<String>,
    pub buffers: Vec<Buffer>,
}

impl OpTest {
    /// Reads the header of a module's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut test = Self {
            grid: [1; 3],
            block: [1; 3],
            cluster: [1; 3],
            shared: 0,
            finds: Vec::new(),
            buffers: Vec::new(),
        };
        let mut launched = false;
        for line in text.lines().map_while(|l| l.strip_prefix("//")) {
            if let Some(data) = line.strip_prefix("   ") {
                test.buffers
                    .last_mut()
                    .ok_or("data before a buffer")?
                    .append(data)?;
                continue;
            }
            let (key, rest) = line
                .trim()
                .split_once(": ")
                .ok_or_else(|| format!("what is `{line}`?"))?;
            match key {
                "test" | "spec" | "note" => {}
                "finds" => test.finds.extend(rest.split(' ').map(str::to_owned)),
                "launch" => {
                    launched = true;
                    test.launch(rest)?;
                }
                name => test.buffers.push(Buffer::declare(name, rest)?),
            }
        }
        if !launched {
            return Err("no `launch:` line".into());
        }
        test.buffers.iter().try_for_each(Buffer::check)?;
        if test.buffers.iter().all(|b| b.expect.is_none()) {
            return Err("nothing is expected of any buffer".into());
        }
        Ok(test)
    }

    fn launch(&mut self, text: &str) -> Result<(), String> {
        let bad = || format!("launch: `{text}` is not grid X Y Z block X Y Z [shared N]");
        let words: Vec<&str> = text.split(' ').collect();
        let number = |at: usize| words.get(at).and_then(|w| w.parse().ok()).ok_or_else(bad);
        let shape = (words.first(), words.get(4), words.get(8), words.len());
        self.shared = match shape {
            (Some(&"grid"), Some(&"block"), None, 8) => 0,
            (Some(&"grid"), Some(&"block"), Some(&"shared"), 10) => number(9)?,
            _ => return Err(bad()),
        };
        for d in 0..3 {
            self.grid[d] = number(1 + d)?;
            self.block[d] = number(5 + d)?;
        }
        Ok(())
    }
}

impl Buffer {
    fn declare(name: &str, rest: &str) -> Result<Self, String> {
        let mut words = rest.split(' ');
        let (Some(kind), Some(dtype), Some(length), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(format!("{name}: `{rest}` is not KIND TYPE LENGTH"));
        };
        let dtype = match dtype {
            "e4m3" | "e5m2" => "u8",
            other => other,
        };
        Ok(Self {
            name: name.to_owned(),
            dtype: Dtype::from_name(dtype).ok_or_else(|| format!("{name}: type `{dtype}`"))?,
            length: length
                .parse()
                .map_err(|_| format!("{name}: length `{length}`"))?,
            initial: matches!(kind, "in" | "inout").then(Vec::new),
            expect: matches!(kind, "out" | "inout").then(Vec::new),
        })
    }

    fn append(&mut self, data: &str) -> Result<(), String> {
        let name = &self.name;
        if let Some(expected) = data.strip_prefix("-> ") {
            let list = self
                .expect
                .as_mut()
                .ok_or_else(|| format!("{name}: nothing is expected of an `in`"))?;
            for word in expected.split(' ') {
                list.push(Element::parse(word).map_err(|e| format!("{name}: {e}"))?);
            }
            return Ok(());
        }
        let bytes = self
            .initial
            .as_mut()
            .ok_or_else(|| format!("{name}: an `out` has no contents"))?;
        for word in data.split(' ') {
            let pattern = u64::from_str_radix(word, 16).map_err(|_| format!("{name}: `{word}`"))?;
            bytes.extend_from_slice(&pattern.to_le_bytes()[..self.dtype.bytes()]);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let lengths = [
            self.initial.as_ref().map(|b| b.len() / self.dtype.bytes()),
            self.expect.as_ref().map(Vec::len),
        ];
        match lengths.into_iter().flatten().find(|n| *n != self.length) {
            Some(n) => Err(format!(
                "{}: {n} elements where {} are declared",
                self.name, self.length
            )),
            None => Ok(()),
        }
    }

    /// The bytes the buffer holds at launch: garbage where nothing is given.
    pub fn contents(&self) -> Vec<u8> {
        self.initial
            .clone()
            .unwrap_or_else(|| vec![0xCD; self.length * self.dtype.bytes()])
    }

    /// Compares what came out; the error names the first wrong elements.
    pub fn compare(&self, got: &[u8]) -> Result<(), String> {
        let Some(expect) = &self.expect else {
            return match self.initial.as_deref() == Some(got) {
                true => Ok(()),
                false => Err(format!("{}: an input was changed", self.name)),
            };
        };
        let digits = self.dtype.bytes() * 2;
        let wrong: Vec<String> = (0..self.length)
            .filter(|&k| !expect[k].admits(self.dtype, self.dtype.read(got, k)))
            .map(|k| {
                let want = match &expect[k] {
                    Element::Exactly(w) => format!("{w:0digits$x}"),
                    other => format!("{other:x?}"),
                };
                format!(
                    "{}[{k}]: got {:0digits$x}, want {want}",
                    self.name,
                    self.dtype.read(got, k)
                )
            })
            .collect();
        match wrong.len() {
            0 => Ok(()),
            n => Err(format!(
                "{n} of {} wrong\n{}",
                self.length,
                wrong[..n.min(6)].join("\n")
            )),
        }
    }
}
