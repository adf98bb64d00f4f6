use libtest_mimic::Trial;

pub(crate) fn trials(_trials: &mut Vec<Trial>) {}
