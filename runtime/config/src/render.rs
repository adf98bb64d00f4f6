use std::sync::Arc;

use annotate_snippets::renderer::Renderer;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Snippet, normalize_untrusted_str};

use crate::diagnostic::{Colour, Diagnostic, Severity};
use crate::source::{Display, Source, Span};

pub(crate) fn render(diagnostic: &Diagnostic, colour: Colour) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let renderer = match colour {
        Colour::Never => Renderer::plain(),
        Colour::Always => Renderer::styled(),
    };
    let mut group = Group::with_title(level.primary_title(&diagnostic.message));
    if let Some(span) = &diagnostic.span {
        group = with_places(group, diagnostic, span);
    }
    group = group.elements(diagnostic.help.iter().map(|hint| Level::HELP.message(normalize_untrusted_str(hint))));
    renderer.render(&[group])
}

/// One frame a file: the primary place with those related places that lie in the same file, then the other files.
fn with_places<'a>(mut group: Group<'a>, diagnostic: &'a Diagnostic, primary: &'a Span) -> Group<'a> {
    let mut files: Vec<&Arc<Source>> = vec![primary.source()];
    for (span, _) in &diagnostic.related {
        if !files.contains(&span.source()) {
            files.push(span.source());
        }
    }
    for file in files {
        let places = std::iter::once((AnnotationKind::Primary, primary, diagnostic.label.as_str()))
            .chain(diagnostic.related.iter().map(|(span, label)| (AnnotationKind::Context, span, label.as_str())))
            .filter(|(_, span, _)| span.source() == file);
        let path = file.path().display().to_string();
        if file.display() == Display::Frame {
            let annotations = places.map(|(kind, span, label)| annotation(kind, span, label));
            group = group.element(Snippet::source(file.text()).path(path).annotations(annotations));
        } else {
            for (_, span, _) in places {
                let (line, column) = span.line_and_column();
                group = group.element(Origin::path(path.clone()).line(line).char_column(column));
            }
        }
    }
    group
}

fn annotation<'a>(kind: AnnotationKind, span: &Span, label: &str) -> Annotation<'a> {
    let annotation = kind.span(span.first_line_range());
    if label.is_empty() { annotation } else { annotation.label(normalize_untrusted_str(label)) }
}
