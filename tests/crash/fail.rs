//! An installation on a disk that is full, fails or became read-only, at every system call.

use super::matrix::Change;
use super::strace::Fault;

/// One test per change and error, so that they run in parallel.
macro_rules! failing {
    ($($test:ident: $change:ident, $error:literal;)*) => {$(
        #[test]
        fn $test() {
            Change::$change().stop_everywhere(Fault::Error($error));
        }
    )*};
}

failing! {
    a_first_installation_says_that_the_disk_is_full_and_is_finished_later: first_installation, "ENOSPC";
    a_first_installation_says_that_the_disk_breaks_and_is_finished_later: first_installation, "EIO";
    a_first_installation_says_that_the_disk_is_read_only_and_is_finished_later: first_installation, "EROFS";
    an_upgrade_says_that_the_disk_is_full_and_is_finished_later: upgrade, "ENOSPC";
    an_upgrade_says_that_the_disk_breaks_and_is_finished_later: upgrade, "EIO";
    an_upgrade_says_that_the_disk_is_read_only_and_is_finished_later: upgrade, "EROFS";
    an_adoption_says_that_the_disk_is_full_and_is_finished_later: adoption, "ENOSPC";
    an_adoption_says_that_the_disk_breaks_and_is_finished_later: adoption, "EIO";
    an_adoption_says_that_the_disk_is_read_only_and_is_finished_later: adoption, "EROFS";
    a_takeover_says_that_the_disk_is_full_and_is_finished_later: takeover, "ENOSPC";
    a_takeover_says_that_the_disk_breaks_and_is_finished_later: takeover, "EIO";
    a_takeover_says_that_the_disk_is_read_only_and_is_finished_later: takeover, "EROFS";
    a_release_after_a_killed_one_says_that_the_disk_is_full_and_is_finished_later: second_after_killed, "ENOSPC";
    a_release_after_a_killed_one_says_that_the_disk_breaks_and_is_finished_later: second_after_killed, "EIO";
    a_release_after_a_killed_one_says_that_the_disk_is_read_only_and_is_finished_later: second_after_killed, "EROFS";
    a_rollback_says_that_the_disk_is_full_and_is_finished_later: rollback, "ENOSPC";
    a_rollback_says_that_the_disk_breaks_and_is_finished_later: rollback, "EIO";
    a_rollback_says_that_the_disk_is_read_only_and_is_finished_later: rollback, "EROFS";
    an_uninstallation_says_that_the_disk_is_full_and_is_finished_later: uninstallation, "ENOSPC";
    an_uninstallation_says_that_the_disk_breaks_and_is_finished_later: uninstallation, "EIO";
    an_uninstallation_says_that_the_disk_is_read_only_and_is_finished_later: uninstallation, "EROFS";
    a_pruning_says_that_the_disk_is_full_and_is_finished_later: pruning, "ENOSPC";
    a_pruning_says_that_the_disk_breaks_and_is_finished_later: pruning, "EIO";
    a_pruning_says_that_the_disk_is_read_only_and_is_finished_later: pruning, "EROFS";
    a_replacement_says_that_the_disk_is_full_and_is_finished_later: replacement, "ENOSPC";
    a_replacement_says_that_the_disk_breaks_and_is_finished_later: replacement, "EIO";
    a_replacement_says_that_the_disk_is_read_only_and_is_finished_later: replacement, "EROFS";
    a_repair_says_that_the_disk_is_full_and_is_finished_later: repair, "ENOSPC";
    a_repair_says_that_the_disk_breaks_and_is_finished_later: repair, "EIO";
    a_repair_says_that_the_disk_is_read_only_and_is_finished_later: repair, "EROFS";
    a_repair_of_replaced_plugins_says_that_the_disk_is_full_and_is_finished_later: replaced_obstacles, "ENOSPC";
    a_repair_of_replaced_plugins_says_that_the_disk_breaks_and_is_finished_later: replaced_obstacles, "EIO";
    a_repair_of_replaced_plugins_says_that_the_disk_is_read_only_and_is_finished_later: replaced_obstacles, "EROFS";
}
