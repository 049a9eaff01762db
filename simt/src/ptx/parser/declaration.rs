//! Module scope: directives, variables, functions.

use super::{Parser, Result};
use crate::ptx::ast::{Function, Initialiser, LaunchBounds, Module, Name, Param, Variable};
use crate::ptx::lexer::TokenKind;
use crate::ptx::types::{ScalarType, Space};

#[derive(Default)]
struct Linkage {
    external: bool,
}

impl Parser<'_> {
    pub(super) fn module(&mut self) -> Result<Module> {
        let mut module = Module {
            source: self.source.clone(),
            version: self.version()?,
            target: 0,
            target_text: "".into(),
            files: Vec::new(),
            variables: Vec::new(),
            functions: Vec::new(),
        };
        self.target(&mut module)?;
        let mut aliases = Vec::new();
        while self.peek().kind != TokenKind::End {
            if self.dotted() == Some(".alias") {
                aliases.push(self.alias()?);
            } else {
                self.item(&mut module)?;
            }
        }
        for (alias, of) in aliases {
            self.resolve(&mut module, alias, &of)?;
        }
        Ok(module)
    }

    /// `.alias other, function;`
    fn alias(&mut self) -> Result<(Name, Name)> {
        self.advance();
        let alias = self.name("the name of a declared function")?;
        self.expect(",")?;
        let of = self.name("the name of a function with a body")?;
        self.expect(";")?;
        Ok((alias, of))
    }

    /// Gives a declared function the body of another.
    fn resolve(&self, module: &mut Module, alias: Name, of: &Name) -> Result<()> {
        let defined = |f: &&Function| f.name.text == of.text && f.body.is_some() && !f.is_entry;
        let Some(function) = module.functions.iter().find(defined) else {
            let message = format!("there is no function `{}` with a body", of.text);
            return Err(self.error(of.span, message));
        };
        let mut function = function.clone();
        function.name = alias;
        module.functions.push(function);
        Ok(())
    }

    fn version(&mut self) -> Result<(u32, u32)> {
        if !self.eat_dotted(".version") {
            return Err(self.unexpected("`.version`, which begins every module"));
        }
        let token = self.advance();
        let text = self.text(token);
        let parts = text
            .split_once('.')
            .and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        parts.ok_or_else(|| self.error(token.span, "a version such as 8.0 is needed"))
    }

    fn target(&mut self, module: &mut Module) -> Result<()> {
        if !self.eat_dotted(".target") {
            return Err(self.unexpected("`.target`"));
        }
        let name = self.name("a target such as sm_80")?;
        let digits = name
            .text
            .strip_prefix("sm_")
            .map(|t| t.trim_end_matches(['a', 'f']));
        module.target = digits
            .and_then(|d| d.parse().ok())
            .ok_or_else(|| self.error(name.span, "a target such as sm_80 is needed"))?;
        module.target_text = name.text;
        while self.eat(",") {
            self.name("a target option")?;
        }
        Ok(())
    }

    fn item(&mut self, module: &mut Module) -> Result<()> {
        let Some(word) = self.dotted() else {
            return Err(self.unexpected("a directive such as `.entry` or `.global`"));
        };
        match word {
            ".address_size" => {
                self.advance();
                let span = self.peek().span;
                if self.small()? != 64 {
                    return Err(self.error(span, "only 64-bit addresses are supported"));
                }
                Ok(())
            }
            ".file" => self.file(module),
            ".section" => {
                self.advance();
                self.skip_section()
            }
            ".pragma" => self.skip_to_semicolon(),
            _ => self.linked_item(module),
        }
    }

    fn file(&mut self, module: &mut Module) -> Result<()> {
        self.advance();
        let index = self.small()?;
        let token = self.peek();
        if token.kind != TokenKind::Text {
            return Err(self.unexpected("a file name in quotes"));
        }
        self.advance();
        module
            .files
            .push((index, self.text(token).trim_matches('"').to_owned()));
        while self.eat(",") {
            self.small()?;
        }
        Ok(())
    }

    fn linkage(&mut self) -> Linkage {
        let mut linkage = Linkage::default();
        while let Some(".visible" | ".extern" | ".weak" | ".common") = self.dotted() {
            linkage.external |= self.dotted() == Some(".extern");
            self.advance();
        }
        linkage
    }

    fn linked_item(&mut self, module: &mut Module) -> Result<()> {
        let start = self.at;
        self.linkage();
        match self.dotted() {
            Some(".entry") => {
                self.advance();
                let function = self.function(true)?;
                module.functions.push(function);
                Ok(())
            }
            Some(".func") => {
                self.advance();
                let function = self.function(false)?;
                module.functions.push(function);
                Ok(())
            }
            _ => {
                self.at = start;
                self.variables(&mut module.variables)
            }
        }
    }

    fn function(&mut self, is_entry: bool) -> Result<Function> {
        while self.eat_dotted(".noreturn") {}
        self.attribute()?;
        let returns = if self.is_punct("(") {
            self.params()?
        } else {
            Vec::new()
        };
        let name = self.name("the name of the function")?;
        let params = if self.is_punct("(") {
            self.params()?
        } else {
            Vec::new()
        };
        let bounds = self.bounds()?;
        let body = if self.eat(";") {
            None
        } else {
            let mut body = self.body()?;
            if std::mem::take(&mut self.vectors) {
                super::vector::write_out(&mut body);
            }
            Some(body)
        };
        Ok(Function {
            name,
            is_entry,
            returns,
            params,
            bounds,
            body,
        })
    }

    /// `.attribute(.managed)`, `.attribute(.unified(1, 2))`: nothing that a program could see.
    fn attribute(&mut self) -> Result<()> {
        if !self.eat_dotted(".attribute") {
            return Ok(());
        }
        self.expect("(")?;
        let mut open = 1;
        while open > 0 {
            if self.peek().kind == TokenKind::End {
                return Err(self.unexpected("`)`"));
            }
            if self.eat("(") {
                open += 1;
            } else if self.eat(")") {
                open -= 1;
            } else {
                self.advance();
            }
        }
        Ok(())
    }

    /// A texture, sampler or surface: a handle, which only instructions use that do not exist here.
    fn opaque(&mut self) -> bool {
        [".texref", ".samplerref", ".surfref"]
            .into_iter()
            .any(|word| self.eat_dotted(word))
    }

    fn triple(&mut self) -> Result<[u32; 3]> {
        let mut out = [1; 3];
        for (i, n) in out.iter_mut().enumerate() {
            if i > 0 && !self.eat(",") {
                break;
            }
            *n = self.small()?;
        }
        Ok(out)
    }

    fn bounds(&mut self) -> Result<LaunchBounds> {
        let mut bounds = LaunchBounds::default();
        while let Some(word) = self.dotted() {
            let word = word.to_owned();
            self.advance();
            match word.as_str() {
                ".maxntid" => bounds.max_threads = Some(self.triple()?),
                ".reqntid" => bounds.required_threads = Some(self.triple()?),
                ".minnctapersm" => bounds.min_blocks = Some(self.small()?),
                ".maxnreg" => bounds.max_registers = Some(self.small()?),
                ".reqnctapercluster" => bounds.required_cluster = Some(self.triple()?),
                ".maxclusterrank" | ".maxnctapersm" | ".abi_preserve" | ".abi_preserve_control" => {
                    self.small()?;
                }
                ".explicitcluster" | ".noreturn" | ".blocksareclusters" | ".unified" => {}
                ".pragma" => self.skip_to_semicolon()?,
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected("`{`, `;` or a directive such as `.maxntid`"));
                }
            }
        }
        Ok(bounds)
    }

    fn params(&mut self) -> Result<Vec<Param>> {
        self.expect("(")?;
        let mut params = Vec::new();
        while !self.eat(")") {
            if !params.is_empty() {
                self.expect(",")
                    .map_err(|_| self.unexpected("`,` or `)`"))?;
            }
            params.push(self.param()?);
        }
        Ok(params)
    }

    fn param(&mut self) -> Result<Param> {
        let in_register = match self.dotted() {
            Some(".param") => false,
            Some(".reg") => true,
            _ => return Err(self.unexpected("`.param`")),
        };
        self.advance();
        let mut align = self.alignment()?;
        let ty = if self.opaque() {
            ScalarType::B64
        } else {
            self.scalar_type()?
        };
        // `.ptr .global .align 16` describes what a pointer points to, not the parameter.
        if self.eat_dotted(".ptr") {
            if let Some(".global" | ".shared" | ".local" | ".const" | ".generic") = self.dotted() {
                self.advance();
            }
            self.alignment()?;
        }
        align = align.or(Some(ty.bytes()));
        let name = self.name("the name of the parameter")?;
        let array = self.array_length()?;
        Ok(Param {
            name,
            ty,
            array,
            align: align.unwrap_or(1),
            in_register,
        })
    }

    fn alignment(&mut self) -> Result<Option<u32>> {
        if !self.eat_dotted(".align") {
            return Ok(None);
        }
        let span = self.peek().span;
        let align = self.small()?;
        if !align.is_power_of_two() || align > 1 << 20 {
            return Err(self.error(span, "an alignment is a power of two"));
        }
        Ok(Some(align))
    }

    /// `[4][8]` is 32 elements, `[]` is none, nothing is `None`.
    fn array_length(&mut self) -> Result<Option<u64>> {
        let mut length: Option<u64> = None;
        while self.is_punct("[") {
            let span = self.advance().span;
            let extent = if self.is_punct("]") {
                0
            } else {
                self.integer()?
            };
            self.expect("]")?;
            let product = u64::try_from(extent)
                .ok()
                .and_then(|e| e.checked_mul(length.unwrap_or(1)));
            let fits = product.filter(|p| *p <= 1 << 40);
            length = Some(fits.ok_or_else(|| self.error(span, "this array is too large"))?);
        }
        Ok(length)
    }

    /// `.shared .align 16 .b8 a[64], b;` with linkage before it.
    pub(super) fn variables(&mut self, out: &mut Vec<Variable>) -> Result<()> {
        let linkage = self.linkage();
        let space = match self.dotted() {
            Some(".global") => Space::Global,
            Some(".const") => Space::Const,
            Some(".shared") => Space::Shared,
            Some(".local") => Space::Local,
            Some(".param") => Space::Param,
            _ => return Err(self.unexpected("a directive such as `.entry`, `.global` or `.reg`")),
        };
        self.advance();
        self.attribute()?;
        let align = self.alignment()?;
        let vector = match self.dotted() {
            Some(".v2") => 2,
            Some(".v4") => 4,
            _ => 1,
        };
        if vector > 1 {
            self.advance();
        }
        let opaque = self.opaque();
        let ty = if opaque {
            ScalarType::B64
        } else {
            self.scalar_type()?
        };
        let align = align.unwrap_or(ty.bytes() * vector);
        loop {
            let name = self.name("the name of the variable")?;
            let declared = self.array_length()?;
            let mut init = Vec::new();
            if self.eat("=") {
                if opaque {
                    // How a texture is sampled, which no instruction here asks.
                    self.skip_section()?;
                } else {
                    self.initialiser(&mut init)?;
                }
            }
            let count = match declared {
                None => 1,
                Some(0) if !linkage.external => init.len() as u64,
                Some(n) => n,
            };
            if init.len() as u64 > count {
                return Err(self.error(name.span, "more initial values than elements"));
            }
            let external = linkage.external;
            out.push(Variable {
                name,
                space,
                ty,
                vector,
                count,
                align,
                external,
                init,
            });
            if !self.eat(",") {
                break;
            }
        }
        self.expect(";").map(drop)
    }

    fn initialiser(&mut self, out: &mut Vec<Initialiser>) -> Result<()> {
        if !self.eat("{") {
            out.push(self.initial_value()?);
            return Ok(());
        }
        let mut first = true;
        while !self.eat("}") {
            if !first {
                self.expect(",")
                    .map_err(|_| self.unexpected("`,` or `}`"))?;
            }
            first = false;
            if self.is_punct("}") {
                continue;
            }
            self.deeper(|p| p.initialiser(out))?;
        }
        Ok(())
    }

    fn initial_value(&mut self) -> Result<Initialiser> {
        let token = self.peek();
        if token.kind != TokenKind::Word || self.text(token) == "WARP_SZ" {
            let number = self.number()?;
            // `0xFF00(symbol)` takes one byte of an address.
            if let (crate::ptx::ast::Number::Integer(mask), true) = (number, self.eat("(")) {
                let mut value = self.initial_value()?;
                self.expect(")")?;
                match &mut value {
                    Initialiser::Address { mask: slot, .. } => *slot = Some(mask as u64),
                    Initialiser::Number(_) => {
                        return Err(self.error(token.span, "a mask needs a symbol"));
                    }
                }
                return Ok(value);
            }
            return Ok(Initialiser::Number(number));
        }
        let word = self.name("a symbol")?;
        let generic = word.text == "generic" && self.eat("(");
        let symbol = if generic {
            self.name("a symbol")?
        } else {
            word
        };
        let mut offset = self.signed_offset()?;
        if generic {
            self.expect(")")?;
            offset = offset.wrapping_add(self.signed_offset()?);
        }
        Ok(Initialiser::Address {
            symbol,
            offset,
            generic,
            mask: None,
        })
    }

    fn signed_offset(&mut self) -> Result<i64> {
        let sign = match self.peek().kind {
            TokenKind::Punct("+") => 1,
            TokenKind::Punct("-") => -1,
            _ => return Ok(0),
        };
        let span = self.advance().span;
        let value = self.integer()?.wrapping_mul(sign);
        i64::try_from(value).map_err(|_| self.error(span, "this offset does not fit 64 bits"))
    }
}
