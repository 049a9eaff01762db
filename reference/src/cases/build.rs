//! Cases that are checked when they are built.

use super::{NoMargin, Rng};

/// A generated case of one family.
pub trait Case: Sized {
    /// Draws a case; all of it is a function of the generator's state.
    fn draw(rng: &mut Rng) -> Self;

    /// Errs when a known-wrong answer would pass.
    fn margin(&self) -> Result<(), NoMargin>;
}

/// Draws until a case has its null margin. Some draws honestly have none (a row whose gradient is
/// zero, a product that cancels down to its own rounding); sixteen in a row mean that the generator
/// or the bound is at fault, and the last one's error says which answer slipped in. Beside the case
/// comes how many draws were thrown away.
pub fn build<C: Case>(seed: u64) -> Result<(C, u64), NoMargin> {
    let rng = Rng::new(seed);
    let mut attempt = 0;
    loop {
        let case = C::draw(&mut rng.fork(attempt));
        match case.margin() {
            Ok(()) => return Ok((case, attempt)),
            Err(error) if attempt == 15 => return Err(error),
            Err(_) => attempt += 1,
        }
    }
}
