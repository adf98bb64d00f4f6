//! What a parsed module imports, and whether it is an ES module at all.

use deno_ast::swc::ast::{
    AutoAccessor, CallExpr, Callee, Decorator, ExportAll, Expr, ImportDecl, JSXElement, JSXFragment, Lit, MemberExpr,
    MemberProp, MetaPropExpr, ModuleDecl, NamedExport, ObjectLit, Prop, PropName, PropOrSpread, Str, TryStmt,
    TsExportAssignment, TsImportEqualsDecl,
};
use deno_ast::swc::common::{Span, Spanned};
use deno_ast::swc::ecma_visit::{Visit, VisitWith, noop_visit_type};
use serde::{Deserialize, Serialize};

use crate::compile::ModuleFormat;

/// An import that is written as a literal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Import {
    pub(crate) specifier: String,
    /// Where the specifier stands, quotes included, in bytes of the original; `None` for the import that JSX adds.
    pub(crate) bytes: Option<(usize, usize)>,
    pub(crate) kind: ImportKind,
    /// The `type` of its attributes: `with { type: "text" }`.
    pub(crate) attribute: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ImportKind {
    /// Loaded before the module runs.
    Static,
    /// `import("...")`.
    Dynamic,
    /// `import("...")` whose failure the module handles itself: in a `try`, or with `.catch` or a second argument of `.then`.
    Guarded,
}

/// Collects, in one walk, all that the loader needs to know of a module.
#[derive(Debug, Default)]
pub(crate) struct ModuleScan {
    pub(crate) imports: Vec<Import>,
    /// The file uses syntax that the engine lacks: decorators, accessors, JSX.
    pub(crate) needs_transform: bool,
    has_module_syntax: bool,
    has_commonjs: bool,
    has_commonjs_typescript: bool,
    guards: usize,
}

impl ModuleScan {
    pub(crate) fn format(&self) -> ModuleFormat {
        // A bundle may define a `require` of its own; only a file without any import or export is taken for CommonJS by that.
        if self.has_commonjs_typescript || (self.has_commonjs && !self.has_module_syntax) {
            return ModuleFormat::CommonJs;
        }
        ModuleFormat::EcmaScript
    }

    fn push(&mut self, specifier: &Str, kind: ImportKind, attributes: Option<&ObjectLit>) {
        // A specifier with half a surrogate pair cannot name a file; the engine gets to say so.
        let Some(text) = specifier.value.as_str() else { return };
        let attribute = attributes.and_then(type_of_attributes);
        self.imports.push(Import { specifier: text.to_owned(), bytes: bytes(specifier.span), kind, attribute });
    }

    fn visit_guarded(&mut self, node: &impl VisitWith<Self>) {
        self.guards += 1;
        node.visit_with(self);
        self.guards -= 1;
    }
}

impl Visit for ModuleScan {
    noop_visit_type!();

    fn visit_module_decl(&mut self, node: &ModuleDecl) {
        self.has_module_syntax = true;
        node.visit_children_with(self);
    }

    fn visit_import_decl(&mut self, node: &ImportDecl) {
        if !node.type_only {
            self.push(&node.src, ImportKind::Static, node.with.as_deref());
        }
    }

    fn visit_export_all(&mut self, node: &ExportAll) {
        if !node.type_only {
            self.push(&node.src, ImportKind::Static, node.with.as_deref());
        }
    }

    fn visit_named_export(&mut self, node: &NamedExport) {
        if let Some(source) = node.src.as_ref().filter(|_| !node.type_only) {
            self.push(source, ImportKind::Static, node.with.as_deref());
        }
    }

    fn visit_ts_import_equals_decl(&mut self, _: &TsImportEqualsDecl) {
        self.has_commonjs_typescript = true;
    }

    fn visit_ts_export_assignment(&mut self, _: &TsExportAssignment) {
        self.has_commonjs_typescript = true;
    }

    fn visit_meta_prop_expr(&mut self, _: &MetaPropExpr) {
        self.has_module_syntax = true;
    }

    fn visit_try_stmt(&mut self, node: &TryStmt) {
        if node.handler.is_some() {
            self.visit_guarded(&node.block);
        } else {
            node.block.visit_with(self);
        }
        node.handler.visit_with(self);
        node.finalizer.visit_with(self);
    }

    fn visit_call_expr(&mut self, node: &CallExpr) {
        match &node.callee {
            Callee::Import(_) => {
                let kind = if self.guards > 0 { ImportKind::Guarded } else { ImportKind::Dynamic };
                let options = node.args.get(1).and_then(|options| options.expr.as_object());
                let attributes = options.and_then(|options| property(options, "with")?.as_object());
                match node.args.first().map(|argument| &*argument.expr) {
                    Some(Expr::Lit(Lit::Str(specifier))) => self.push(specifier, kind, attributes),
                    Some(Expr::Tpl(template)) if template.exprs.is_empty() => {
                        let cooked = template.quasis.first().and_then(|part| part.cooked.as_ref()?.as_str());
                        if let Some(specifier) = cooked {
                            let specifier = specifier.to_owned();
                            let attribute = attributes.and_then(type_of_attributes);
                            self.imports.push(Import { specifier, bytes: bytes(template.span), kind, attribute });
                        }
                    }
                    _ => {}
                }
            }
            Callee::Expr(callee) => match &**callee {
                Expr::Ident(name) if name.sym == "require" => self.has_commonjs = true,
                Expr::Member(MemberExpr { obj, prop: MemberProp::Ident(method), .. })
                    if method.sym == "catch" || (method.sym == "then" && node.args.len() > 1) =>
                {
                    self.visit_guarded(obj);
                    node.args.visit_with(self);
                    return;
                }
                _ => {}
            },
            Callee::Super(_) => {}
        }
        node.visit_children_with(self);
    }

    fn visit_member_expr(&mut self, node: &MemberExpr) {
        if let Expr::Ident(object) = &*node.obj {
            let is_property = |name: &str| matches!(&node.prop, MemberProp::Ident(property) if property.sym == name);
            self.has_commonjs |= object.sym == "exports" || (object.sym == "module" && is_property("exports"));
        }
        node.visit_children_with(self);
    }

    fn visit_decorator(&mut self, node: &Decorator) {
        self.needs_transform = true;
        node.visit_children_with(self);
    }

    fn visit_auto_accessor(&mut self, node: &AutoAccessor) {
        self.needs_transform = true;
        node.visit_children_with(self);
    }

    fn visit_jsx_element(&mut self, node: &JSXElement) {
        self.needs_transform = true;
        node.visit_children_with(self);
    }

    fn visit_jsx_fragment(&mut self, node: &JSXFragment) {
        self.needs_transform = true;
        node.visit_children_with(self);
    }
}

fn type_of_attributes(attributes: &ObjectLit) -> Option<String> {
    match property(attributes, "type")? {
        Expr::Lit(Lit::Str(text)) => text.value.as_str().map(str::to_owned),
        _ => None,
    }
}

fn property<'o>(object: &'o ObjectLit, name: &str) -> Option<&'o Expr> {
    object.props.iter().find_map(|property| {
        let PropOrSpread::Prop(property) = property else { return None };
        let Prop::KeyValue(pair) = &**property else { return None };
        let is_named = match &pair.key {
            PropName::Ident(key) => key.sym == name,
            PropName::Str(key) => key.value.as_str() == Some(name),
            _ => false,
        };
        is_named.then_some(&*pair.value)
    })
}

/// Positions in swc begin at 1, so that 0 can mean "nowhere".
fn bytes(span: Span) -> Option<(usize, usize)> {
    let span = span.span();
    (!span.is_dummy() && span.lo.0 >= 1).then(|| (span.lo.0 as usize - 1, span.hi.0 as usize - 1))
}
