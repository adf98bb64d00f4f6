//! Namespaces in several blocks: each block sees what the ones before it export. The compiler looks at one block at a
//! time, so a later block is given `import a = S.a;` for what it does not declare itself; what it does not use is gone
//! again afterwards.

use std::collections::{BTreeMap, BTreeSet};

use deno_ast::swc::ast::{
    Decl, Ident, IdentName, ModuleDecl, ModuleItem, Stmt, TsEntityName, TsImportEqualsDecl, TsModuleDecl, TsModuleName,
    TsModuleRef, TsNamespaceBody, TsQualifiedName, VarDeclKind,
};
use deno_ast::swc::common::DUMMY_SP;

use super::names::{Bound, bind, declared};

/// Lets the blocks of each namespace of a body see each other.
pub(super) fn connect_namespaces(body: &mut [ModuleItem]) {
    let mut exported: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for module in body.iter_mut().filter_map(namespace) {
        let (TsModuleName::Ident(name), Some(TsNamespaceBody::TsModuleBlock(block))) = (&module.id, &mut module.body)
        else {
            continue;
        };
        let earlier = exported.entry(name.sym.to_string()).or_default();
        let mut own = BTreeMap::new();
        block.body.iter().for_each(|item| bind(item, &mut own));
        let exports = lasting_exports(&block.body);
        let aliases = earlier.iter().filter(|export| !own.contains_key(*export)).map(|export| alias(name, export));
        let aliases: Vec<ModuleItem> = aliases.collect();
        connect_namespaces(&mut block.body);
        block.body.splice(0..0, aliases);
        earlier.extend(exports);
    }
}

fn namespace(item: &mut ModuleItem) -> Option<&mut TsModuleDecl> {
    let declaration = match item {
        ModuleItem::Stmt(Stmt::Decl(declaration)) => declaration,
        ModuleItem::ModuleDecl(ModuleDecl::ExportDecl(export)) => &mut export.decl,
        _ => return None,
    };
    match declaration {
        Decl::TsModule(module) if !module.declare => Some(module),
        _ => None,
    }
}

/// Values that a block exports and that are never assigned again: an alias of another would keep an old value.
fn lasting_exports(body: &[ModuleItem]) -> Vec<String> {
    let mut names = Vec::new();
    for item in body {
        let ModuleItem::ModuleDecl(ModuleDecl::ExportDecl(export)) = item else { continue };
        if let Decl::Var(variables) = &export.decl
            && variables.kind != VarDeclKind::Const
        {
            continue;
        }
        declared(&export.decl, &mut |name, kind| {
            if kind == Bound::Value {
                names.push(name.to_owned());
            }
        });
    }
    names
}

/// `import <export> = <namespace>.<export>;`
fn alias(namespace: &Ident, export: &str) -> ModuleItem {
    let qualified = TsQualifiedName {
        span: DUMMY_SP,
        left: TsEntityName::Ident(namespace.clone()),
        right: IdentName::new(export.into(), DUMMY_SP),
    };
    ModuleItem::ModuleDecl(ModuleDecl::TsImportEquals(Box::new(TsImportEqualsDecl {
        span: DUMMY_SP,
        is_export: false,
        is_type_only: false,
        id: Ident::new_no_ctxt(export.into(), DUMMY_SP),
        module_ref: TsModuleRef::TsEntityName(TsEntityName::TsQualifiedName(Box::new(qualified))),
    })))
}
