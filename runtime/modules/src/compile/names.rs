//! Which names a module exports, and which of them are types only. A compiler that sees one file at a time cannot tell
//! whether `export { User } from "./types"` forwards a value; the whole graph can.

use std::collections::{BTreeMap, BTreeSet};

use deno_ast::swc::ast::{
    BindingIdent, Decl, DefaultDecl, ExportSpecifier, ImportDecl, ImportSpecifier, ModuleDecl, ModuleExportName,
    ModuleItem, NamedExport, Program, Stmt, TsModuleName,
};
use deno_ast::swc::ecma_visit::{Visit, VisitWith};
use serde::{Deserialize, Serialize};

/// The names of one module, by its text alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ModuleNames {
    /// Exported, and declared here as values.
    pub(crate) values: BTreeSet<String>,
    /// Exported, and no values: declared here as types, or exported as types.
    pub(crate) types: BTreeSet<String>,
    /// Taken from another module, and exported or not.
    pub(crate) forwarded: Vec<Forwarded>,
    /// `export * from`.
    pub(crate) stars: Vec<String>,
    /// `export type * from`.
    pub(crate) type_stars: Vec<String>,
}

/// A name of another module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Forwarded {
    /// The other module, as it is written.
    pub(crate) specifier: String,
    /// The name there; `*` for all of it.
    pub(crate) imported: String,
    /// The name under which it is exported again, if it is.
    pub(crate) exported: Option<String>,
}

/// A name that another module exports as a type only: its imports and exports are no code.
pub(crate) type TypeName = (String, String);

/// What a top-level name is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bound {
    Value,
    Type,
    Import { specifier: String, imported: String },
}

impl ModuleNames {
    pub(crate) fn of(program: &Program) -> Self {
        let Program::Module(module) = program else { return Self::default() };
        let mut bound = BTreeMap::new();
        for item in &module.body {
            bind(item, &mut bound);
        }
        let mut names = Self::default();
        for declaration in module.body.iter().filter_map(ModuleItem::as_module_decl) {
            names.add(declaration, &bound);
        }
        names.add_unexported(bound);
        names
    }

    fn add(&mut self, declaration: &ModuleDecl, bound: &BTreeMap<String, Bound>) {
        match declaration {
            ModuleDecl::ExportDecl(export) => declared(&export.decl, &mut |name, kind| self.declare(name, &kind)),
            ModuleDecl::ExportDefaultDecl(export) => match export.decl {
                DefaultDecl::TsInterfaceDecl(_) => self.declare("default", &Bound::Type),
                DefaultDecl::Class(_) | DefaultDecl::Fn(_) => self.declare("default", &Bound::Value),
            },
            ModuleDecl::ExportDefaultExpr(_) => self.declare("default", &Bound::Value),
            ModuleDecl::ExportNamed(export) => self.add_named(export, bound),
            ModuleDecl::ExportAll(export) => {
                if let Some(specifier) = export.src.value.as_str() {
                    let stars = if export.type_only { &mut self.type_stars } else { &mut self.stars };
                    stars.push(specifier.to_owned());
                }
            }
            _ => {}
        }
    }

    fn add_named(&mut self, export: &NamedExport, bound: &BTreeMap<String, Bound>) {
        let source = export.src.as_ref().and_then(|source| source.value.as_str());
        for specifier in &export.specifiers {
            match specifier {
                ExportSpecifier::Namespace(all) => self.declare(&all.name.atom(), &Bound::Value),
                ExportSpecifier::Default(default) => self.declare(&default.exported.sym, &Bound::Value),
                ExportSpecifier::Named(named) => {
                    let exported = named.exported.as_ref().unwrap_or(&named.orig).atom().to_string();
                    let original = named.orig.atom();
                    if export.type_only || named.is_type_only {
                        self.declare(&exported, &Bound::Type);
                        continue;
                    }
                    let known = match source {
                        Some(specifier) => {
                            Bound::Import { specifier: specifier.to_owned(), imported: original.to_string() }
                        }
                        None => bound.get(&**original).cloned().unwrap_or(Bound::Value),
                    };
                    match known {
                        Bound::Import { specifier, imported } => {
                            self.forwarded.push(Forwarded { specifier, imported, exported: Some(exported) });
                        }
                        known => self.declare(&exported, &known),
                    }
                }
            }
        }
    }

    /// Imports that are not exported: `verbatimModuleSyntax` keeps those of types too.
    fn add_unexported(&mut self, bound: BTreeMap<String, Bound>) {
        for (specifier, imported) in bound.into_values().filter_map(|bound| match bound {
            Bound::Import { specifier, imported } => Some((specifier, imported)),
            Bound::Value | Bound::Type => None,
        }) {
            let is_known = |known: &Forwarded| known.specifier == specifier && known.imported == imported;
            if !self.forwarded.iter().any(is_known) {
                self.forwarded.push(Forwarded { specifier, imported, exported: None });
            }
        }
    }

    fn declare(&mut self, name: &str, bound: &Bound) {
        match bound {
            Bound::Type => self.types.insert(name.to_owned()),
            Bound::Value | Bound::Import { .. } => self.values.insert(name.to_owned()),
        };
    }
}

/// Takes the imports and exports of names that are types only out of a module.
pub(crate) fn drop_type_names(program: &mut Program, dropped: &BTreeSet<TypeName>) {
    let Program::Module(module) = program else { return };
    let is_dropped = |specifier: Option<&str>, name: &str| {
        specifier.is_some_and(|specifier| dropped.contains(&(specifier.to_owned(), name.to_owned())))
    };
    let mut locals = BTreeSet::new();
    for item in &mut module.body {
        let ModuleItem::ModuleDecl(ModuleDecl::Import(import)) = item else { continue };
        let source = import.src.value.as_str().map(str::to_owned);
        import.specifiers.retain(|specifier| {
            let goes = is_dropped(source.as_deref(), &imported_name(specifier));
            if goes {
                locals.insert(local_name(specifier));
            }
            !goes
        });
    }
    for item in &mut module.body {
        let ModuleItem::ModuleDecl(ModuleDecl::ExportNamed(export)) = item else { continue };
        let source = export.src.as_ref().map(|source| source.value.as_str().map(str::to_owned));
        export.specifiers.retain(|specifier| {
            let ExportSpecifier::Named(named) = specifier else { return true };
            match &source {
                Some(source) => !is_dropped(source.as_deref(), &named.orig.atom()),
                None => !locals.contains(named.orig.atom().as_str()),
            }
        });
    }
}

pub(super) fn bind(item: &ModuleItem, bound: &mut BTreeMap<String, Bound>) {
    let mut declare = |name: &str, kind: Bound| {
        // A class and an interface may have one name: it is a value then.
        if bound.get(name) != Some(&Bound::Value) {
            bound.insert(name.to_owned(), kind);
        }
    };
    match item {
        ModuleItem::Stmt(Stmt::Decl(declaration)) => declared(declaration, &mut declare),
        ModuleItem::ModuleDecl(ModuleDecl::ExportDecl(export)) => declared(&export.decl, &mut declare),
        ModuleItem::ModuleDecl(ModuleDecl::Import(import)) => bind_import(import, &mut declare),
        _ => {}
    }
}

fn bind_import(import: &ImportDecl, declare: &mut impl FnMut(&str, Bound)) {
    let Some(source) = import.src.value.as_str() else { return };
    for specifier in &import.specifiers {
        let bound = if import.type_only || specifier.is_type_only() {
            Bound::Type
        } else {
            Bound::Import { specifier: source.to_owned(), imported: imported_name(specifier) }
        };
        declare(&local_name(specifier), bound);
    }
}

fn imported_name(specifier: &ImportSpecifier) -> String {
    match specifier {
        ImportSpecifier::Named(named) => named
            .imported
            .as_ref()
            .map_or_else(|| named.local.sym.to_string(), |name: &ModuleExportName| name.atom().to_string()),
        ImportSpecifier::Default(_) => "default".to_owned(),
        ImportSpecifier::Namespace(_) => "*".to_owned(),
    }
}

fn local_name(specifier: &ImportSpecifier) -> String {
    match specifier {
        ImportSpecifier::Named(named) => named.local.sym.to_string(),
        ImportSpecifier::Default(default) => default.local.sym.to_string(),
        ImportSpecifier::Namespace(all) => all.local.sym.to_string(),
    }
}

/// Names that a declaration binds.
pub(super) fn declared(declaration: &Decl, declare: &mut impl FnMut(&str, Bound)) {
    let kind = |is_type: bool| if is_type { Bound::Type } else { Bound::Value };
    match declaration {
        Decl::Class(class) => declare(&class.ident.sym, kind(class.declare)),
        Decl::Fn(function) => declare(&function.ident.sym, kind(function.declare)),
        Decl::TsEnum(enumeration) => declare(&enumeration.id.sym, kind(enumeration.declare)),
        Decl::TsInterface(interface) => declare(&interface.id.sym, Bound::Type),
        Decl::TsTypeAlias(alias) => declare(&alias.id.sym, Bound::Type),
        Decl::TsModule(module) => {
            if let TsModuleName::Ident(name) = &module.id {
                declare(&name.sym, kind(module.declare));
            }
        }
        Decl::Var(variables) => {
            let mut names = BoundNames::default();
            variables.decls.iter().for_each(|declarator| declarator.name.visit_with(&mut names));
            names.0.iter().for_each(|name| declare(name, kind(variables.declare)));
        }
        Decl::Using(_) => {}
    }
}

#[derive(Default)]
struct BoundNames(Vec<String>);

impl Visit for BoundNames {
    fn visit_binding_ident(&mut self, name: &BindingIdent) {
        self.0.push(name.sym.to_string());
    }

    fn visit_assign_pat_prop(&mut self, property: &deno_ast::swc::ast::AssignPatProp) {
        self.0.push(property.key.sym.to_string());
    }
}
