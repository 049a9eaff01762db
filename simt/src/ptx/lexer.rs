//! Text to tokens. Comments and white space vanish here.

use super::source::{Source, Span};
use crate::diagnostics::{Blame, Diagnostic};

/// What a token is; its text is found under its span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TokenKind {
    /// A name: opcode, symbol, register (`%r1`), label.
    Word,
    /// A word that begins with a dot: directive or modifier (`.L1::no_allocate` is one).
    Dotted,
    /// An integer and whether it carried the suffix `U`.
    Integer(u64),
    /// A decimal floating-point number.
    Double(f64),
    /// `0f` and eight hexadecimal digits.
    HexFloat(u32),
    /// `0d` and sixteen hexadecimal digits.
    HexDouble(u64),
    /// Text between double quotes.
    Text,
    /// One or two characters of punctuation.
    Punct(&'static str),
    /// End of the text.
    End,
}

/// A token and where it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Where it stands.
    pub span: Span,
}

const PUNCTUATION: &[&str] = &[
    "<<", ">>", "&&", "||", "==", "!=", "<=", ">=", ",", ";", ":", "{", "}", "[", "]", "(", ")",
    "<", ">", "+", "-", "*", "/", "%", "&", "|", "^", "~", "!", "?", "=", "@",
];

fn is_word_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || matches!(b, b'_' | b'$' | b'%')
}

fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$')
}

struct Lexer<'s> {
    source: &'s Source,
    bytes: &'s [u8],
    at: usize,
}

/// Splits the text into tokens; the last one is [`TokenKind::End`].
pub fn lex(source: &Source) -> Result<Vec<Token>, Diagnostic> {
    let bytes = source.text().as_bytes();
    let mut lexer = Lexer {
        source,
        bytes,
        at: 0,
    };
    let mut tokens = Vec::with_capacity(bytes.len() / 4);
    loop {
        let token = lexer.next()?;
        tokens.push(token);
        if token.kind == TokenKind::End {
            return Ok(tokens);
        }
    }
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.bytes.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn error(&self, start: usize, end: usize, message: &str) -> Diagnostic {
        Diagnostic::new(self.source, Blame::Program, Span::new(start, end), message)
    }

    fn skip_blanks(&mut self) -> Result<(), Diagnostic> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (b' ' | b'\t' | b'\n' | b'\r' | 0x0c, _) => self.at += 1,
                (b'/', b'/') => {
                    while self.at < self.bytes.len() && self.peek(0) != b'\n' {
                        self.at += 1;
                    }
                }
                (b'/', b'*') => {
                    let start = self.at;
                    self.at += 2;
                    while (self.peek(0), self.peek(1)) != (b'*', b'/') {
                        if self.at >= self.bytes.len() {
                            return Err(self.error(start, start + 2, "comment without an end"));
                        }
                        self.at += 1;
                    }
                    self.at += 2;
                }
                // A NUL at the end of the text is what a C string leaves behind.
                (0, _) if self.at + 1 == self.bytes.len() => self.at += 1,
                _ => return Ok(()),
            }
        }
    }

    fn next(&mut self) -> Result<Token, Diagnostic> {
        self.skip_blanks()?;
        let start = self.at;
        let kind = if start >= self.bytes.len() {
            TokenKind::End
        } else {
            match self.peek(0) {
                b'"' => self.text()?,
                b'0'..=b'9' => self.number()?,
                b'.' if is_word(self.peek(1)) => self.dotted(),
                b'.' => return Err(self.error(start, start + 1, "a dot without a name")),
                // `%` alone is the remainder operator; before a letter it begins a register.
                b'%' if !is_word(self.peek(1)) => self.punctuation()?,
                b if is_word_start(b) => {
                    self.at += 1;
                    while is_word(self.peek(0)) {
                        self.at += 1;
                    }
                    TokenKind::Word
                }
                _ => self.punctuation()?,
            }
        };
        Ok(Token {
            kind,
            span: Span::new(start, self.at),
        })
    }

    fn text(&mut self) -> Result<TokenKind, Diagnostic> {
        let start = self.at;
        self.at += 1;
        while self.peek(0) != b'"' {
            if self.at >= self.bytes.len() || self.peek(0) == b'\n' {
                return Err(self.error(start, self.at, "string without an end"));
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(TokenKind::Text)
    }

    fn dotted(&mut self) -> TokenKind {
        self.at += 1;
        loop {
            while is_word(self.peek(0)) {
                self.at += 1;
            }
            if (self.peek(0), self.peek(1)) == (b':', b':') && is_word(self.peek(2)) {
                self.at += 2;
            } else {
                return TokenKind::Dotted;
            }
        }
    }

    fn punctuation(&mut self) -> Result<TokenKind, Diagnostic> {
        let rest = &self.bytes[self.at..];
        if let Some(p) = PUNCTUATION.iter().find(|p| rest.starts_with(p.as_bytes())) {
            self.at += p.len();
            return Ok(TokenKind::Punct(p));
        }
        let length = self.source.text()[self.at..]
            .chars()
            .next()
            .map_or(1, char::len_utf8);
        Err(self.error(
            self.at,
            self.at + length,
            "this character has no place in PTX",
        ))
    }

    fn number(&mut self) -> Result<TokenKind, Diagnostic> {
        let start = self.at;
        while is_word(self.peek(0)) || self.peek(0) == b'.' {
            let exponent = matches!(self.peek(0), b'e' | b'E');
            let decimal = !matches!(
                self.bytes.get(start + 1),
                Some(b'x' | b'X' | b'f' | b'F' | b'd' | b'D')
            );
            self.at += 1;
            if exponent && decimal && matches!(self.peek(0), b'+' | b'-') {
                self.at += 1;
            }
        }
        let text = &self.source.text()[start..self.at];
        parse_number(text).ok_or_else(|| self.error(start, self.at, "malformed number"))
    }
}

fn parse_number(text: &str) -> Option<TokenKind> {
    let lower = text.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0f") {
        let exact = hex.len() == 8;
        return u32::from_str_radix(hex, 16)
            .ok()
            .filter(|_| exact)
            .map(TokenKind::HexFloat);
    }
    if let Some(hex) = lower.strip_prefix("0d") {
        let exact = hex.len() == 16;
        return u64::from_str_radix(hex, 16)
            .ok()
            .filter(|_| exact)
            .map(TokenKind::HexDouble);
    }
    let digits = lower.strip_suffix('u').unwrap_or(&lower);
    let (radix, digits) = match digits.get(..2) {
        Some("0x") => (16, &digits[2..]),
        Some("0b") => (2, &digits[2..]),
        _ if digits.len() > 1 && digits.starts_with('0') && !digits.contains(['.', 'e']) => {
            (8, &digits[1..])
        }
        _ => (10, digits),
    };
    if let Ok(value) = u64::from_str_radix(digits, radix) {
        return Some(TokenKind::Integer(value));
    }
    let float = radix == 10 && digits.contains(['.', 'e']);
    digits.parse().ok().filter(|_| float).map(TokenKind::Double)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        lex(&Source::new(text))
            .expect("lexes")
            .into_iter()
            .map(|t| t.kind)
            .collect()
    }

    #[test]
    fn numbers_in_every_notation() {
        use TokenKind::*;
        let text = "0 017 0x1F 0b101 42U 1.5 2e-3 0f3F800000 0d3FF0000000000000";
        let want = [
            Integer(0),
            Integer(15),
            Integer(31),
            Integer(5),
            Integer(42),
            Double(1.5),
            Double(2e-3),
            HexFloat(0x3F80_0000),
            HexDouble(0x3FF0_0000_0000_0000),
            End,
        ];
        assert_eq!(kinds(text), want);
    }

    #[test]
    fn modifiers_keep_their_double_colons() {
        use TokenKind::*;
        let text = "ld.global.L1::no_allocate %tid.x $L__BB0_1: // end";
        assert_eq!(
            kinds(text),
            [Word, Dotted, Dotted, Word, Dotted, Word, Punct(":"), End]
        );
    }
}
