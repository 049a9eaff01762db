//! What a PTX file holds, read as text: its entries, their directives and their opcodes. It knows
//! nothing of what instructions mean; `simt` does.

/// One `.entry` of a PTX file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EntryListing {
    /// Its name.
    pub name: String,
    /// The opcodes of its body with their modifiers, guards left out: `bar.sync`.
    pub opcodes: Vec<String>,
    /// The directives before and in its body, with what follows each: `.maxntid 128`.
    pub directives: Vec<String>,
}

/// A PTX file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Its entries in order.
    pub entries: Vec<EntryListing>,
    /// The directives outside any entry.
    pub directives: Vec<String>,
}

impl Listing {
    /// Reads PTX as the compiler writes it: a statement a line or more, labels on their own.
    pub fn read(ptx: &str) -> Listing {
        let mut listing = Listing::default();
        let mut depth = 0_u32;
        let mut pending: Option<EntryListing> = None;
        for statement in statements(ptx) {
            match statement.as_str() {
                "{" => depth += 1,
                "}" => {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        listing.entries.extend(pending.take());
                    }
                }
                text => {
                    if let Some(name) = entry_name(text) {
                        listing.entries.extend(pending.take());
                        pending = Some(EntryListing {
                            name: name.to_owned(),
                            opcodes: Vec::new(),
                            directives: Vec::new(),
                        });
                        // What follows the parameter list: `.maxntid 128`.
                        let behind = text.rsplit(')').next().unwrap_or_default().trim();
                        if let (Some(entry), false) = (&mut pending, behind.is_empty()) {
                            entry.directives.push(behind.to_owned());
                        }
                        continue;
                    }
                    let into = pending.as_mut();
                    if text.starts_with('.') {
                        into.map_or(&mut listing.directives, |entry| &mut entry.directives)
                            .push(text.to_owned());
                    } else if let (Some(entry), Some(opcode)) = (into, opcode(text)) {
                        entry.opcodes.push(opcode.to_owned());
                    }
                }
            }
        }
        listing
    }
}

/// The name in `.visible .entry name(…)`.
fn entry_name(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(".entry")?;
    Some(
        rest.trim_start()
            .split(|c: char| c == '(' || c.is_whitespace())
            .next()?
            .trim(),
    )
}

/// The opcode of `@%p1 bra $L__BB0_2`.
fn opcode(text: &str) -> Option<&str> {
    text.split_whitespace().find(|word| !word.starts_with('@'))
}

/// Statements without comments and labels; braces that open and close a scope stand alone.
fn statements(ptx: &str) -> Vec<String> {
    let mut statements = Vec::new();
    let mut current = String::new();
    // Braces inside a statement belong to a vector: `ld.v4.b32 {%r1, …}`.
    let mut in_vector = false;
    let mut close = |current: &mut String| {
        let text = current.split_whitespace().collect::<Vec<_>>().join(" ");
        if !text.is_empty() {
            statements.push(text);
        }
        current.clear();
    };
    for line in ptx.lines() {
        let line = line.split("//").next().unwrap_or_default().trim();
        let is_label = line.ends_with(':') && !line.contains(char::is_whitespace);
        let ends_by_line = [
            ".version",
            ".target",
            ".address_size",
            ".loc",
            ".file",
            ".section",
        ]
        .iter()
        .any(|directive| line.starts_with(directive));
        if is_label || line.is_empty() {
            continue;
        }
        if ends_by_line {
            close(&mut current);
            current.push_str(line);
            close(&mut current);
            continue;
        }
        for c in line.chars() {
            match c {
                ';' => close(&mut current),
                '{' if current.trim().is_empty() || current.contains(".entry") => {
                    close(&mut current);
                    current.push('{');
                    close(&mut current);
                }
                '{' => {
                    in_vector = true;
                    current.push(c);
                }
                '}' if in_vector => {
                    in_vector = false;
                    current.push(c);
                }
                '}' => {
                    close(&mut current);
                    current.push('}');
                    close(&mut current);
                }
                _ => current.push(c),
            }
        }
        current.push(' ');
    }
    close(&mut current);
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    const PTX: &str = "
// a comment; with a bar.sync
.version 7.4
.target sm_80
.address_size 64
.shared .align 16 .b8 TILE[64];
.visible .entry k(
	.param .u64 .ptr .align 1 k_param_0
)
.maxntid 128
{
	.reg .b32 	%r<3>;
	.loc	1 16 0
	@%p1 bra 	$L__BB0_2;
$L__BB0_2:
	// begin inline asm
	{ .reg .b64 g; cvta.to.global.u64 g, %rd1;
ld.global.nc.v4.b32 {%r1, %r2, %r3, %r4}, [g]; }
	// end inline asm
	bar.sync 	0; // bar.sync
	mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32
		{%r1, %r2, %r3, %r4},
		{%r5, %r6};
	ret;
}
.visible .entry l()
{
	trap; exit;
}
";

    #[test]
    fn entries_hold_their_opcodes_and_directives() {
        let listing = Listing::read(PTX);
        let names: Vec<_> = listing
            .entries
            .iter()
            .map(|entry| entry.name.as_str())
            .collect();
        assert_eq!(names, ["k", "l"]);
        assert_eq!(
            listing.entries[0].opcodes,
            [
                "bra",
                "cvta.to.global.u64",
                "ld.global.nc.v4.b32",
                "bar.sync",
                "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
                "ret"
            ]
        );
        assert!(
            listing.entries[0]
                .directives
                .contains(&".maxntid 128".to_owned())
        );
        assert!(
            listing.entries[0]
                .directives
                .contains(&".reg .b64 g".to_owned())
        );
        assert_eq!(listing.entries[1].opcodes, ["trap", "exit"]);
        assert!(
            listing
                .directives
                .contains(&".shared .align 16 .b8 TILE[64]".to_owned())
        );
    }
}
