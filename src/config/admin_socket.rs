//! `[admin] socket`: the group of the system's users that may give commands to the running gateway.
//!
//! The group is looked up in `/etc/group` while the configuration is checked. Groups that only a
//! directory has (LDAP, SSSD) are not in that file and are named by their number. A mode that lets
//! in everybody on the machine is refused: a command can end all sessions and add keys.

use super::item::SpannedValue;
use crate::settings::{AdminSocket, SocketGroup};
const OWNER_ONLY: u32 = AdminSocket::OWNER_ONLY;
const WITH_GROUP: u32 = 0o660;
const GROUP_BITS: u32 = 0o070;
const OTHERS_BITS: u32 = 0o007;
/// All bits that have a meaning for a socket.
const READ_AND_WRITE: u32 = 0o666;
/// The kernel's number for no group: `chown` takes it for "leave the group as it is", so the socket
/// would keep another group.
const NO_GROUP: u32 = u32::MAX;

const GROUPS: &str = "/etc/group";

impl AdminSocket {
    pub(super) fn read(item: Option<SpannedValue<'_>>) -> Self {
        let Some(mut table) = item.as_ref().and_then(SpannedValue::table) else {
            return Self::default();
        };
        let named = table.get("group");
        let mode = table.get("mode");
        table.default_is("mode", "0600");
        let group = named.as_ref().and_then(SocketGroup::read);
        let default = if named.is_some() { WITH_GROUP } else { OWNER_ONLY };
        let read = mode.as_ref().and_then(|item| Some((item, mode_of(item)?)));
        let Some((item, bits)) = read else { return Self { group, mode: default } };
        // Group and mode must fit together. A mode that contradicts the group is a mistake in one
        // of the two, and the gateway cannot know in which.
        match named.is_some() {
            true if bits & GROUP_BITS == 0 => {
                item.issue("keeps the group out: write \"0660\", or leave the group out");
            }
            false if bits & GROUP_BITS != 0 => {
                item.issue("lets a group in that is not named: add group = \"NAME\"");
            }
            _ => {}
        }
        Self { group, mode: bits }
    }
}

impl SocketGroup {
    fn read(item: &SpannedValue<'_>) -> Option<Self> {
        let name = item.plain_name()?;
        let groups = match std::fs::read_to_string(GROUPS) {
            Ok(groups) => groups,
            // A container image without users has no such file; then only numbers can be used.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                item.issue(format!("cannot be looked up: {GROUPS} cannot be read: {error}"));
                return None;
            }
        };
        let id = id_in(&groups, &name).or_else(|| name.parse().ok());
        let Some(id) = id.filter(|id| *id != NO_GROUP) else {
            item.issue(format!(
                "no such group in {GROUPS}: make it with `groupadd --system NAME`, or write the \
                 number of a group that a directory knows"
            ));
            return None;
        };
        Some(Self { name, id })
    }
}

/// The number of a group, found in a text of lines `name:password:number:members` (group(5)).
fn id_in(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_meant = fields.next() == Some(name);
        let id = fields.nth(1)?.parse().ok()?;
        is_meant.then_some(id)
    })
}

fn mode_of(item: &SpannedValue<'_>) -> Option<u32> {
    const FORM: &str = "must be a string of octal digits: write \"0660\"";
    if !item.is_text() {
        item.issue(FORM);
        return None;
    }
    let text = item.string()?;
    let is_octal =
        (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let mode = u32::from_str_radix(text, 8).ok().filter(|_| is_octal);
    let remedy = match mode {
        Some(mode) if mode & OTHERS_BITS != 0 => {
            "lets everybody on this machine give commands: write \"0660\" and name a group"
        }
        Some(mode) if mode & !READ_AND_WRITE != 0 => {
            "has bits that mean nothing for a socket: write \"0660\""
        }
        Some(mode) if mode & OWNER_ONLY != OWNER_ONLY => {
            "keeps the gateway's own user out: write \"0660\""
        }
        Some(mode) => return Some(mode),
        None => FORM,
    };
    item.issue(remedy);
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_its_whole_name_and_a_broken_line_is_nobodys() {
        let groups = "root:x:0:\nops-team:x:12:ann\nbroken\nops:x:many:\nops:x:34:ann,bob\n";

        for (name, id) in
            [("root", Some(0)), ("ops", Some(34)), ("ops-team", Some(12)), ("op", None), ("", None)]
        {
            assert_eq!(id_in(groups, name), id, "{name}");
        }
    }
}
