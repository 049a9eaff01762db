//! A PTX file taken apart: what stands around the kernels, and each kernel by itself, so that a
//! mutant is compiled without the others.

use std::collections::BTreeMap;

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

impl<'a> Kernel<'a> {
    /// Its lines, each with its number in the file and the place that the `.loc` before it names.
    pub fn lines(&self) -> impl Iterator<Item = (usize, &'a str, Option<Place>)> + use<'a> {
        let first = self.line + 1;
        self.text
            .lines()
            .enumerate()
            .scan(None, move |place, (at, line)| {
                if let Some(named) = Place::of(line) {
                    *place = Some(named);
                }
                Some((first + at, line, *place))
            })
    }
}

/// A line of a source file, as `.loc` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number that `.file` gives the source file.
    pub file: u32,
    /// Counted from one; 0 where the compiler knows none.
    pub line: u32,
}

impl Place {
    fn of(line: &str) -> Option<Place> {
        let mut numbers = line.trim().strip_prefix(".loc")?.split_whitespace();
        Some(Place {
            file: numbers.next()?.parse().ok()?,
            line: numbers.next()?.parse().ok()?,
        })
    }
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
    /// The names of the source files, by their numbers.
    pub fn sources(&self) -> BTreeMap<u32, &str> {
        let named = self.around.lines().filter_map(|line| {
            let rest = line.trim().strip_prefix(".file")?.trim_start();
            let (number, name) = rest.split_once(char::is_whitespace)?;
            let name = name.trim_start().strip_prefix('"')?;
            Some((number.parse().ok()?, name.split('"').next()?))
        });
        named.collect()
    }

    /// A module of one kernel.
    pub fn module(&self, kernel: &str) -> String {
        format!("{}\n{kernel}\n", self.around)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = ".version 7.0\n.target sm_80\n.address_size 64\n\
        .visible .entry a(\n\t.param .u64 p\n)\n{\n\t.loc\t1 7 3\n\tret;\n}\n\n.shared .b8 pool[4];\n\n\
        .visible .entry b()\n{\n\tret;\n}\n\t.file\t1 \"a.rs\"\n";

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

    #[test]
    fn lines_know_where_they_come_from() {
        let file = split(TEXT);
        assert_eq!(file.sources(), BTreeMap::from([(1, "a.rs")]));
        let places = |kernel: &Kernel<'_>| -> Vec<_> {
            let of_ret = kernel.lines().filter(|(_, line, _)| line.trim() == "ret;");
            of_ret.map(|(number, _, place)| (number, place)).collect()
        };
        let place = Place { file: 1, line: 7 };
        assert_eq!(places(&file.kernels[0]), [(9, Some(place))]);
        assert_eq!(places(&file.kernels[1]), [(16, None)]);
    }
}
