//! Tokens to the syntax tree, by recursive descent.

mod declaration;
mod expression;
mod statement;
mod vector;

use super::ast::{Module, Name};
use super::lexer::{Token, TokenKind, lex};
use super::source::{Source, Span};
use crate::diagnostics::{Blame, Diagnostic, Diagnostics};

/// Nesting of `{ }`, parentheses and unary operators beyond which text is refused:
/// far above what any compiler writes, far below what the stack holds.
const MAX_DEPTH: u32 = 64;

type Result<T> = std::result::Result<T, Diagnostic>;

/// Parses a module.
///
/// # Errors
/// The first place where the text is not PTX, with what was expected there.
pub fn parse(text: &str) -> std::result::Result<Module, Diagnostics> {
    let source = Source::new(text);
    if u32::try_from(text.len()).is_err() {
        let message = "the text is larger than 4 GiB";
        return Err(Diagnostic::new(&source, Blame::Limit, Span::default(), message).into());
    }
    let tokens = lex(&source)?;
    let mut parser = Parser {
        source: &source,
        tokens: &tokens,
        at: 0,
        depth: 0,
        vectors: false,
    };
    Ok(parser.module()?)
}

struct Parser<'s> {
    source: &'s Source,
    tokens: &'s [Token],
    at: usize,
    depth: u32,
    /// Whether the function being read declares vector registers.
    vectors: bool,
}

impl Parser<'_> {
    fn peek(&self) -> Token {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Token {
        let last = self.tokens.len() - 1;
        self.tokens[(self.at + ahead).min(last)]
    }

    fn text(&self, token: Token) -> &str {
        self.source.slice(token.span)
    }

    fn advance(&mut self) -> Token {
        let token = self.peek();
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    fn previous_span(&self) -> Span {
        self.tokens[self.at.saturating_sub(1)].span
    }

    fn error(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(self.source, Blame::Program, span, message)
    }

    fn unexpected(&self, expected: &str) -> Diagnostic {
        let token = self.peek();
        let found = match token.kind {
            TokenKind::End => "the text ends here".to_owned(),
            _ => format!("unexpected `{}`", self.text(token)),
        };
        self.error(token.span, found)
            .with_help(format!("expected {expected}"))
    }

    fn is_punct(&self, p: &str) -> bool {
        matches!(self.peek().kind, TokenKind::Punct(q) if q == p)
    }

    fn eat(&mut self, p: &str) -> bool {
        let found = self.is_punct(p);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, p: &str) -> Result<Span> {
        let span = self.peek().span;
        if self.eat(p) {
            Ok(span)
        } else {
            Err(self.unexpected(&format!("`{p}`")))
        }
    }

    /// The dotted word that comes next, without consuming it.
    fn dotted(&self) -> Option<&str> {
        let token = self.peek();
        (token.kind == TokenKind::Dotted).then(|| self.text(token))
    }

    fn eat_dotted(&mut self, word: &str) -> bool {
        let found = self.dotted() == Some(word);
        if found {
            self.advance();
        }
        found
    }

    fn name(&mut self, expected: &str) -> Result<Name> {
        let token = self.peek();
        if token.kind != TokenKind::Word {
            return Err(self.unexpected(expected));
        }
        self.advance();
        Ok(Name {
            text: self.text(token).into(),
            span: token.span,
        })
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            let message = format!("nested more than {MAX_DEPTH} deep");
            return Err(Diagnostic::new(
                self.source,
                Blame::Limit,
                self.peek().span,
                message,
            ));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }
}
