use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

/// Makes a folder for local state where there is none, with those above it. What is made is for this user alone (mode 0700),
/// whatever the umask lets through: databases and queues hold what the users of a service told it. A folder that is there stays as
/// it is, because whoever made it had a reason.
pub fn make_state_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::make_state_folder;

    #[test]
    fn folders_that_are_made_are_for_this_user_alone_and_others_stay_as_they_are() {
        let root = std::env::temp_dir().join(format!("aerostack-state-folder-{}", std::process::id()));
        let mode =
            |path: &std::path::Path| std::fs::metadata(path).expect("the folder is there").permissions().mode() & 0o777;
        std::fs::create_dir(&root).expect("a folder can be made");
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        let inner = root.join("state").join("database");
        make_state_folder(&inner).expect("the folder can be made");
        make_state_folder(&inner).expect("a folder that is there is no error");
        assert_eq!((mode(&root), mode(&root.join("state")), mode(&inner)), (0o755, 0o700, 0o700));
        std::fs::remove_dir_all(&root).expect("it is ours");
    }
}
