//! Statements of a body.

use super::{Parser, Result};
use crate::ptx::ast::{Guard, Instruction, Name, Statement};
use crate::ptx::lexer::TokenKind;
use crate::ptx::types::ScalarType;

impl Parser<'_> {
    /// `{ … }`, the opening brace not yet consumed.
    pub(super) fn body(&mut self) -> Result<Vec<Statement>> {
        self.deeper(|p| {
            let open = p.expect("{")?;
            let mut statements = Vec::new();
            while !p.eat("}") {
                if p.peek().kind == TokenKind::End {
                    return Err(p.error(open, "this brace is never closed"));
                }
                p.statement(&mut statements)?;
            }
            Ok(statements)
        })
    }

    fn statement(&mut self, out: &mut Vec<Statement>) -> Result<()> {
        if self.is_punct("{") {
            out.push(Statement::Block(self.body()?));
            return Ok(());
        }
        if self.eat(";") {
            return Ok(());
        }
        if let Some(directive) = self.dotted() {
            return match directive {
                ".reg" => self.registers(out),
                ".loc" => self.location(out),
                ".pragma" => self.skip_to_semicolon(),
                // Debug sections and the like carry nothing that runs.
                ".section" => self.skip_section(),
                _ => {
                    let mut variables = Vec::new();
                    self.variables(&mut variables)?;
                    out.extend(variables.into_iter().map(Statement::Variable));
                    Ok(())
                }
            };
        }
        if self.peek().kind == TokenKind::Word && self.peek_at(1).kind == TokenKind::Punct(":") {
            let name = self.name("a label")?;
            self.expect(":")?;
            return self.labelled(name, out);
        }
        out.push(Statement::Instruction(self.instruction()?));
        Ok(())
    }

    fn labelled(&mut self, name: Name, out: &mut Vec<Statement>) -> Result<()> {
        match self.dotted() {
            Some(".branchtargets" | ".calltargets") => {
                self.advance();
                let mut targets = vec![self.name("a label")?];
                while self.eat(",") {
                    targets.push(self.name("a label")?);
                }
                self.expect(";")?;
                out.push(Statement::Targets { name, targets });
            }
            Some(".callprototype") => {
                self.skip_to_semicolon()?;
                out.push(Statement::Prototype(name));
            }
            _ => out.push(Statement::Label(name)),
        }
        Ok(())
    }

    fn registers(&mut self, out: &mut Vec<Statement>) -> Result<()> {
        self.advance();
        let span = self.peek().span;
        let vector = if self.eat_dotted(".v2") {
            2
        } else if self.eat_dotted(".v4") {
            4
        } else {
            1
        };
        let ty = self.scalar_type()?;
        if vector > 1 {
            if ty == ScalarType::Pred || ty.bits() * vector > 128 {
                return Err(self.error(span, "a vector has at most 128 bits, and no predicates"));
            }
            self.vectors = true;
        }
        let mut names = Vec::new();
        loop {
            let name = self.name("a register name")?;
            let count = if self.eat("<") {
                let count = self.small_before_close()?;
                self.expect(">")?;
                Some(count)
            } else {
                None
            };
            names.push((name, count));
            if !self.eat(",") {
                break;
            }
        }
        self.expect(";")?;
        out.push(Statement::Registers { ty, vector, names });
        Ok(())
    }

    /// The count in `%r<5>`: a plain number, since `>` would read as an operator.
    fn small_before_close(&mut self) -> Result<u32> {
        let token = self.peek();
        match token.kind {
            TokenKind::Integer(v) if v <= 1 << 20 => {
                self.advance();
                Ok(v as u32)
            }
            TokenKind::Integer(_) => Err(self.error(token.span, "more than a million registers")),
            _ => Err(self.unexpected("a number of registers")),
        }
    }

    /// A type modifier such as `.b32`.
    pub(super) fn scalar_type(&mut self) -> Result<ScalarType> {
        match self.dotted().and_then(|d| ScalarType::from_name(&d[1..])) {
            Some(ty) => {
                self.advance();
                Ok(ty)
            }
            None => Err(self.unexpected("a type such as `.b32`")),
        }
    }

    fn location(&mut self, out: &mut Vec<Statement>) -> Result<()> {
        self.advance();
        let (file, line, column) = (self.small()?, self.small()?, self.small()?);
        out.push(Statement::Location { file, line, column });
        // `, function_name $L, inlined_at 1 2 3` runs to the end of the line.
        if self.is_punct(",") {
            let line = self.source.position(self.previous_span()).line;
            while self.peek().kind != TokenKind::End
                && self.source.position(self.peek().span).line == line
            {
                self.advance();
            }
        }
        Ok(())
    }

    pub(super) fn skip_to_semicolon(&mut self) -> Result<()> {
        while !self.eat(";") {
            if self.peek().kind == TokenKind::End {
                return Err(self.unexpected("`;`"));
            }
            self.advance();
        }
        Ok(())
    }

    pub(super) fn skip_section(&mut self) -> Result<()> {
        while !self.eat("{") {
            if self.peek().kind == TokenKind::End {
                return Err(self.unexpected("`{`"));
            }
            self.advance();
        }
        while !self.eat("}") {
            if self.peek().kind == TokenKind::End {
                return Err(self.unexpected("`}`"));
            }
            self.advance();
        }
        Ok(())
    }

    fn instruction(&mut self) -> Result<Instruction> {
        let start = self.peek().span;
        let guard = if self.eat("@") {
            let negated = self.eat("!");
            Some(Guard {
                predicate: self.name("a predicate register")?,
                negated,
            })
        } else {
            None
        };
        let opcode = self.name("an instruction, a label or a directive")?;
        let mut modifiers = Vec::new();
        while self.dotted().is_some() {
            let token = self.advance();
            modifiers.push(Name {
                text: self.text(token).into(),
                span: token.span,
            });
        }
        let mut operands = Vec::new();
        while !self.is_punct(";") {
            if !operands.is_empty() {
                // `call (r), f, (a)` and `tex [a, {b}]` separate operands by commas too.
                self.expect(",")
                    .map_err(|_| self.unexpected("`,` or `;`"))?;
            }
            operands.push(self.operand()?);
        }
        let end = self.expect(";")?;
        Ok(Instruction {
            guard,
            opcode,
            modifiers,
            operands,
            span: start.to(end),
        })
    }
}
