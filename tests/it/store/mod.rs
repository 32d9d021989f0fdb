//! The session store: its contract, its file, its time.

pub(crate) mod contract; // what every session store promises
pub(crate) mod durability; // the embedded store: kill -9, full and failing disks
pub(crate) mod file; // the store file: made, refused, copied, swept
pub(crate) mod time; // what a store forgets, and by which clock
pub(crate) mod upgrade; // store files of earlier versions
