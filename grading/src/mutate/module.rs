//! A PTX file taken apart: what stands around the kernels, and each kernel by itself, so that a
//! mutant is compiled without the others.

/// A kernel of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its text, from `.visible .entry` to the closing brace.
    pub text: &'a str,
    /// Lines of the file before it.
    pub line: usize,
}

/// A file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File<'a> {
    /// Version, target, variables and functions: what every kernel may use.
    pub around: String,
    /// The kernels.
    pub kernels: Vec<Kernel<'a>>,
}

/// Takes a file apart. The compiler writes an entry's brackets at the beginning of lines.
pub fn split(text: &str) -> File<'_> {
    let mut file = File {
        around: String::new(),
        kernels: Vec::new(),
    };
    let mut rest = text;
    let mut line = 0;
    while let Some(start) = find_entry(rest) {
        let (before, from) = rest.split_at(start);
        let end = from.find("\n}").map_or(from.len(), |at| at + 2);
        let (kernel, after) = from.split_at(end);
        file.around.push_str(before);
        line += before.matches('\n').count();
        let name = kernel
            .trim_start_matches(".visible")
            .trim_start()
            .trim_start_matches(".entry")
            .trim_start();
        let name = name.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$');
        file.kernels.push(Kernel {
            name: name.into_iter().next().unwrap_or_default(),
            text: kernel,
            line,
        });
        line += kernel.matches('\n').count();
        rest = after;
    }
    file.around.push_str(rest);
    file
}

fn find_entry(text: &str) -> Option<usize> {
    if text.starts_with(".visible .entry") {
        return Some(0);
    }
    text.find("\n.visible .entry").map(|at| at + 1)
}

impl File<'_> {
    /// A module of one kernel.
    pub fn module(&self, kernel: &str) -> String {
        format!("{}\n{kernel}\n", self.around)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = ".version 7.0\n.target sm_80\n.address_size 64\n\
        .visible .entry a(\n\t.param .u64 p\n)\n{\n\tret;\n}\n\n.shared .b8 pool[4];\n\n\
        .visible .entry b()\n{\n\tret;\n}\n";

    #[test]
    fn kernels_are_taken_apart_and_put_together() {
        let file = split(TEXT);
        let names: Vec<&str> = file.kernels.iter().map(|k| k.name).collect();
        assert_eq!(names, ["a", "b"]);
        for kernel in &file.kernels {
            let at = TEXT.lines().nth(kernel.line).expect("a line");
            assert!(at.contains(kernel.name), "{at}");
            let module = file.module(kernel.text);
            assert!(module.contains(".shared .b8 pool[4]"));
            let compiled = simt::compile(&module).expect("a module");
            assert!(compiled.program(kernel.name).is_some());
        }
        assert!(!file.module(file.kernels[0].text).contains(".entry b"));
    }
}
