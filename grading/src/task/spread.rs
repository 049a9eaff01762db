//! Where the bad elements of an output are, axis by axis: a tile, a tail, every fourth column.

use std::collections::BTreeSet;

/// Which coordinates occur along each axis, in words; axes that say nothing are left out.
pub(super) fn spread(axes: &[&str], shape: &[usize], bad: &[Vec<usize>]) -> String {
    let mut said = Vec::new();
    for (axis, size) in shape.iter().enumerate() {
        let seen: BTreeSet<usize> = bad.iter().map(|index| index[axis]).collect();
        if *size > 1 {
            let name = axes.get(axis).copied().unwrap_or("?");
            said.push(format!(
                "{name} {}",
                along(&seen.into_iter().collect::<Vec<_>>(), *size)
            ));
        }
    }
    said.join(", ")
}

/// Sorted coordinates along an axis of that size.
fn along(seen: &[usize], size: usize) -> String {
    match seen {
        [] => "none".to_owned(),
        _ if seen.len() == size => format!("all {size}"),
        [only] => format!("{only} of {size}"),
        [first, second, ..] => {
            let last = seen[seen.len() - 1];
            let step = second - first;
            let even = seen.windows(2).all(|pair| pair[1] - pair[0] == step);
            match (even, step) {
                (true, 1) => format!("{first}–{last} of {size}"),
                (true, step) if seen.len() > 2 => {
                    format!("every {step}th from {first} to {last} of {size}")
                }
                _ => format!("{} places, {first}–{last} of {size}", seen.len()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_tails_and_strides_are_told_apart() {
        let all: Vec<usize> = (0..9).collect();
        assert_eq!(along(&all, 9), "all 9");
        assert_eq!(along(&[64, 65, 66], 67), "64–66 of 67");
        assert_eq!(along(&[3, 7, 11], 12), "every 4th from 3 to 11 of 12");
        assert_eq!(along(&[5], 12), "5 of 12");
        assert_eq!(along(&[1, 2, 9], 12), "3 places, 1–9 of 12");
        assert_eq!(along(&[1, 4], 12), "2 places, 1–4 of 12");
    }

    #[test]
    fn axes_of_one_say_nothing() {
        let bad = [vec![0, 2], vec![0, 3]];
        assert_eq!(spread(&["R", "D"], &[1, 5], &bad), "D 2–3 of 5");
    }
}
