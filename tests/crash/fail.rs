//! An installation on a disk that is full, fails or became read-only, at every system call, and one
//! of whose files something else makes immutable meanwhile.

use super::matrix::Change;
use super::node;
use super::strace::Fault;
use super::support::hold::Hold;
use super::support::say_skipped;

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

/// What an upgrade and a rollback replace or remove: a plugin, and records of every kind.
const HELD: [&str; 5] = [
    "root/opt/cni/bin/macvlan",
    "root/opt/cni/bin/host-local",
    "root/var/lib/cnister/receipt.json",
    "root/var/lib/cnister/journal.json",
    "root/var/lib/cnister/floors.json",
];

fn hold_everywhere(change: &Change) {
    node::bring_back(&change.scene, "before");
    if Hold::Immutable.begin(&change.scene.at(HELD[0])).is_none() {
        return say_skipped("no file can be made immutable here");
    }
    for file in HELD {
        change.stop_everywhere(Fault::Immutable(file));
    }
}

#[test]
fn an_upgrade_with_a_file_that_becomes_immutable_leaves_the_set_that_it_tells() {
    hold_everywhere(&Change::upgrade());
}

#[test]
fn a_pruning_with_a_file_that_becomes_immutable_leaves_the_set_that_it_tells() {
    hold_everywhere(&Change::pruning());
}

#[test]
fn a_rollback_with_a_file_that_becomes_immutable_leaves_the_set_that_it_tells() {
    hold_everywhere(&Change::rollback());
}
