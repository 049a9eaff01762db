//! The table of back-pointers: which beam each beam came from. Walking it gives a beam's tokens, and
//! the places where its cache lies, so no cache is copied when beams change places.

/// Parents and tokens of all steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackPointers {
    items: usize,
    beams: usize,
    /// `[steps, items, beams]`.
    parent: Vec<i32>,
    token: Vec<i32>,
}

impl BackPointers {
    pub(crate) fn new(items: usize, beams: usize) -> BackPointers {
        BackPointers {
            items,
            beams,
            parent: Vec::new(),
            token: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, parent: &[i32], token: &[i32]) {
        self.parent.extend_from_slice(parent);
        self.token.extend_from_slice(token);
    }

    /// Steps taken.
    pub fn steps(&self) -> usize {
        self.parent.len() / (self.items * self.beams)
    }

    /// The beam that `beam` of `item` continued at `step`; `None` where there is none.
    pub fn parent(&self, step: usize, item: usize, beam: usize) -> Option<usize> {
        usize::try_from(*self.parent.get(self.place(step, item, beam))?).ok()
    }

    /// The tokens of a beam as it is after the last step, without the prompt.
    pub fn tokens(&self, item: usize, beam: usize) -> Vec<i32> {
        let path = self.lineage(item, beam);
        let token = |(step, beam): (usize, &usize)| self.token[self.place(step, item, *beam)];
        let all = path.iter().enumerate().map(token);
        all.filter(|token| *token != -1).collect()
    }

    /// For each step the beam that held this one's ancestor after it, its own number last. A model
    /// that keeps the cache of step s's token in the place of the beam that held it reads the cache
    /// of this beam from these places.
    pub fn lineage(&self, item: usize, beam: usize) -> Vec<usize> {
        let mut path = Vec::with_capacity(self.steps());
        let mut at = Some(beam);
        for step in (0..self.steps()).rev() {
            let Some(beam) = at else { break };
            path.push(beam);
            at = self.parent(step, item, beam);
        }
        path.reverse();
        path
    }

    fn place(&self, step: usize, item: usize, beam: usize) -> usize {
        (step * self.items + item) * self.beams + beam
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walking_back_gives_tokens_and_places() {
        let mut table = BackPointers::new(1, 2);
        assert_eq!(table.tokens(0, 0), [0; 0]);
        table.push(&[0, 0], &[5, 6]);
        table.push(&[1, 0], &[7, 8]);
        // Beam 0 is the finished beam 1, and appends nothing; beam 1 is none.
        table.push(&[1, -1], &[-1, -1]);
        assert_eq!(table.steps(), 3);
        assert_eq!(table.lineage(0, 0), [0, 1, 0]);
        assert_eq!(table.tokens(0, 0), [5, 8]);
        assert_eq!(table.parent(2, 0, 1), None);
    }
}
