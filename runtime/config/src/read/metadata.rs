use crate::model::Metadata;
use crate::secret::Secret;
use crate::section::Section;
use crate::source::Located;

/// Reads the keys of the platform.
pub(super) fn read_metadata(root: &Section<'_>) -> Metadata {
    let text = |key| root.string(key).map(|text| text.value);
    let list = |key| root.strings(key).into_iter().map(|Located { value, .. }| value).collect();
    let (project_slug, slug) = (text("project_slug"), text("slug"));
    Metadata {
        project_slug: project_slug.or(slug),
        project_id: text("project_id"),
        api_key: root.expanded("api_key").map(|key| Secret::new(key.value)),
        description: text("description"),
        category: text("category"),
        tags: list("tags"),
        scopes: list("scopes"),
    }
}
