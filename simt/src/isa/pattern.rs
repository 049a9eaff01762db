//! The notation of the instruction table: `ld{.volatile}<.shared|.local>.u32`.
//!
//! After the opcode come modifiers in order: `.x` must be there, `<.x|.y>` is one of several,
//! `{.x|.y}` may be missing.

use smallvec::SmallVec;

/// One place for a modifier.
#[derive(Debug, PartialEq)]
struct Slot {
    choices: Vec<&'static str>,
    optional: bool,
}

impl Slot {
    /// The word of the table that a modifier is.
    fn word(&self, modifier: &str) -> Option<&'static str> {
        self.choices.iter().copied().find(|c| *c == modifier)
    }
}

/// What is taken at each place.
type Taken = SmallVec<[Option<&'static str>; 12]>;

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
        self.taken(modifiers).is_some()
    }

    /// Whether a modifier may stand anywhere in it.
    pub(crate) fn names(&self, modifier: &str) -> bool {
        self.slots.iter().any(|slot| slot.word(modifier).is_some())
    }

    /// What an instruction takes at each place: a word, or nothing.
    fn taken<'a>(&self, modifiers: impl Iterator<Item = &'a str>) -> Option<Taken> {
        let modifiers: SmallVec<[&str; 12]> = modifiers.collect();
        let mut taken = Taken::new();
        if take(&self.slots, &modifiers, &mut taken) {
            return Some(taken);
        }
        if self.any_order() {
            return take_unordered(&self.slots, &modifiers);
        }
        None
    }

    /// The places where an instruction may take one thing or another, and what each may be.
    pub(crate) fn choices(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let open = |slot: &&Slot| slot.optional || slot.choices.len() > 1;
        let slots = self.slots.iter().enumerate();
        slots.filter(move |(_, s)| open(s)).flat_map(|(place, s)| {
            let nothing = s.optional.then_some("");
            let words = s.choices.iter().copied().chain(nothing);
            words.map(move |word| (place, word))
        })
    }

    /// What an instruction that fits takes at such places.
    pub(crate) fn chosen<'a>(
        &self,
        modifiers: impl Iterator<Item = &'a str>,
    ) -> impl Iterator<Item = (usize, &'static str)> {
        let taken = self.taken(modifiers).unwrap_or_default();
        let words = taken.into_iter().map(Option::unwrap_or_default);
        words.enumerate()
    }

    /// Whether modifiers may come in any order: ptxas takes those of memory instructions so, and
    /// nvcc, libcu++ and Triton each write another. No two places of these take the same word.
    fn any_order(&self) -> bool {
        matches!(self.opcode, "atom" | "red" | "ld" | "st" | "fence")
    }
}

fn take_unordered(slots: &[Slot], modifiers: &[&str]) -> Option<Taken> {
    let mut left: SmallVec<[&str; 12]> = modifiers.into();
    let mut taken = Taken::new();
    for slot in slots {
        let at = left.iter().position(|m| slot.word(m).is_some());
        if at.is_none() && !slot.optional {
            return None;
        }
        taken.push(at.and_then(|at| slot.word(left.remove(at))));
    }
    left.is_empty().then_some(taken)
}

fn take(slots: &[Slot], modifiers: &[&str], taken: &mut Taken) -> bool {
    let Some((slot, later)) = slots.split_first() else {
        return modifiers.is_empty();
    };
    let so_far = taken.len();
    if let Some((first, rest)) = modifiers.split_first()
        && let Some(word) = slot.word(first)
    {
        taken.push(Some(word));
        if take(later, rest, taken) {
            return true;
        }
        taken.truncate(so_far);
    }
    taken.push(None);
    if slot.optional && take(later, modifiers, taken) {
        return true;
    }
    taken.truncate(so_far);
    false
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
    fn choices_are_told_apart_by_their_place() {
        let pattern = Pattern::new("cvt{.rn}<.f16|.f32>.f64<.f32|.f16>");
        let chosen: Vec<_> = pattern
            .chosen([".f32", ".f64", ".f16"].into_iter())
            .collect();
        assert_eq!(chosen, [(0, ""), (1, ".f32"), (2, ".f64"), (3, ".f16")]);
        let all: Vec<_> = pattern.choices().collect();
        let of_place = |n: usize| -> Vec<&str> {
            let here = all.iter().filter(|(place, _)| *place == n);
            here.map(|(_, word)| *word).collect()
        };
        assert_eq!(of_place(0), [".rn", ""]);
        assert_eq!(of_place(1), [".f16", ".f32"]);
        assert!(of_place(2).is_empty());
        assert_eq!(of_place(3), [".f32", ".f16"]);
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
