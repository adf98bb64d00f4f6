use std::path::{Component, Path, PathBuf};

/// `path` without `.` and `..` parts, decided from the text alone: links are not followed.
pub(crate) fn normalized(path: &Path) -> PathBuf {
    let mut result = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                let after_a_name = matches!(result.components().next_back(), Some(Component::Normal(_)));
                let at_the_root = result.has_root() && !after_a_name;
                if after_a_name {
                    result.pop();
                } else if !at_the_root {
                    result.push("..");
                }
            }
            other => result.push(other),
        }
    }
    result
}

/// `path` as a person in `directory` would write it; forward slashes are kept as they are.
pub(crate) fn shown(path: &Path, directory: &Path) -> PathBuf {
    match path.strip_prefix(directory) {
        Ok(relative) if !relative.as_os_str().is_empty() => relative.to_path_buf(),
        _ => path.to_path_buf(),
    }
}
