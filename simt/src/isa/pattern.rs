//! The notation of the instruction table: `ld{.volatile}<.shared|.local>.u32`.
//!
//! After the opcode come modifiers in order: `.x` must be there, `<.x|.y>` is one of several,
//! `{.x|.y}` may be missing.

/// One place for a modifier.
#[derive(Debug, PartialEq)]
struct Slot {
    choices: Vec<&'static str>,
    optional: bool,
}

/// A parsed pattern.
#[derive(Debug)]
pub(crate) struct Pattern {
    /// The opcode.
    pub(crate) opcode: &'static str,
    slots: Vec<Slot>,
}

impl Pattern {
    /// Reads the notation; a malformed pattern is a mistake in the table, which a test finds.
    pub(crate) fn new(text: &'static str) -> Self {
        let end = text.find(['.', '<', '{']).unwrap_or(text.len());
        let (opcode, mut rest) = text.split_at(end);
        let mut slots = Vec::new();
        while let Some(first) = rest.chars().next() {
            let (body, optional, after) = match first {
                '<' | '{' => {
                    let close = if first == '<' { '>' } else { '}' };
                    let end = rest.find(close).unwrap_or(rest.len());
                    (
                        &rest[1..end],
                        first == '{',
                        rest.get(end + 1..).unwrap_or(""),
                    )
                }
                _ => {
                    let end = rest[1..]
                        .find(['.', '<', '{'])
                        .map_or(rest.len(), |e| e + 1);
                    (&rest[..end], false, &rest[end..])
                }
            };
            slots.push(Slot {
                choices: body.split('|').collect(),
                optional,
            });
            rest = after;
        }
        Self { opcode, slots }
    }

    /// Whether the modifiers of an instruction fit.
    pub(crate) fn fits<'a>(&self, modifiers: impl Iterator<Item = &'a str>) -> bool {
        let modifiers: smallvec::SmallVec<[&str; 12]> = modifiers.collect();
        fits(&self.slots, &modifiers) || self.any_order() && fits_unordered(&self.slots, &modifiers)
    }

    /// Whether modifiers may come in any order: ptxas takes those of memory instructions so, and
    /// nvcc, libcu++ and Triton each write another. No two places of these take the same word.
    fn any_order(&self) -> bool {
        matches!(self.opcode, "atom" | "red" | "ld" | "st" | "fence")
    }
}

fn fits_unordered(slots: &[Slot], modifiers: &[&str]) -> bool {
    let mut left: smallvec::SmallVec<[&str; 12]> = modifiers.into();
    for slot in slots {
        match left.iter().position(|m| slot.choices.contains(m)) {
            Some(at) => drop(left.remove(at)),
            None if slot.optional => {}
            None => return false,
        }
    }
    left.is_empty()
}

fn fits(slots: &[Slot], modifiers: &[&str]) -> bool {
    let Some((slot, later)) = slots.split_first() else {
        return modifiers.is_empty();
    };
    let taken = modifiers.first().is_some_and(|m| slot.choices.contains(m));
    (taken && fits(later, &modifiers[1..])) || (slot.optional && fits(later, modifiers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_and_alternative_modifiers() {
        let pattern = Pattern::new("ld{.volatile}<.shared|.local>{.v2|.v4}.u32");
        assert_eq!(pattern.opcode, "ld");
        let fits = |m: &[&str]| pattern.fits(m.iter().copied());
        assert!(fits(&[".shared", ".u32"]));
        assert!(fits(&[".volatile", ".local", ".v4", ".u32"]));
        assert!(fits(&[".u32", ".v4", ".shared"]));
        assert!(!fits(&[".u32"]));
        assert!(!fits(&[".shared", ".u32", ".u32"]));
        assert!(!fits(&[".shared", ".local", ".u32"]));
    }

    #[test]
    fn order_counts_where_two_places_take_the_same_word() {
        let pattern = Pattern::new("cvt<.f16|.f32><.f32|.f16>{.ftz}");
        assert!(pattern.fits([".f16", ".f32", ".ftz"].into_iter()));
        assert!(!pattern.fits([".f16", ".ftz", ".f32"].into_iter()));
    }

    #[test]
    fn no_two_places_of_a_memory_instruction_take_the_same_word() {
        let all = crate::isa::patterns().values().flatten();
        for pattern in all.map(|entry| &entry.pattern).filter(|p| p.any_order()) {
            let mut seen = std::collections::HashSet::new();
            for choice in pattern.slots.iter().flat_map(|slot| &slot.choices) {
                assert!(
                    seen.insert(choice),
                    "{} takes {choice} twice",
                    pattern.opcode
                );
            }
        }
    }
}
