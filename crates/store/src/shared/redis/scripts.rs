//! The Lua scripts: each step that reads and writes is one of them, and therefore atomic.
//!
//! A script is called by its digest. A server that does not have it, after a restart or a failover,
//! says so and gets the text. Times are the server's, in milliseconds since 1970; they are written
//! with `%.0f`, because Lua would write them in exponential notation.
//!
//! A step that only reads uses a command that counts as a write and changes nothing (`GETEX`
//! without an option): a replica refuses the command, and so does a master that has lost the
//! replicas that it must have. A master that was replaced and does not know of it yet would
//! otherwise show old records as if they were the latest.

use redis::{Cmd, Script};

/// A script and its digest.
#[derive(Debug)]
pub(super) struct StoreScript {
    text: &'static str,
    digest: String,
}

impl StoreScript {
    fn new(text: &'static str) -> Self {
        Self { text, digest: Script::new(text).get_hash().to_owned() }
    }

    /// A call of the script. The arguments follow the keys.
    pub(super) fn call(&self, keys: &[&str]) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.digest).arg(keys.len()).arg(keys);
        call
    }

    /// The command that makes the script known to a server.
    pub(super) fn load(&self) -> Cmd {
        let mut load = redis::cmd("SCRIPT");
        load.arg("LOAD").arg(self.text);
        load
    }
}

/// All scripts.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) swap: StoreScript,
    pub(super) join: StoreScript,
    pub(super) members: StoreScript,
    pub(super) publish: StoreScript,
    pub(super) expire_entries: StoreScript,
    pub(super) add_id: StoreScript,
    pub(super) due_ids: StoreScript,
    pub(super) settle_ids: StoreScript,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            swap: StoreScript::new(SWAP),
            join: StoreScript::new(JOIN),
            members: StoreScript::new(MEMBERS),
            publish: StoreScript::new(PUBLISH),
            expire_entries: StoreScript::new(EXPIRE_ENTRIES),
            add_id: StoreScript::new(ADD_ID),
            due_ids: StoreScript::new(DUE_IDS),
            settle_ids: StoreScript::new(SETTLE_IDS),
        }
    }
}

/// KEYS: the record. ARGV: the version that it must have, or empty for none; the new version; the
/// new value; for how long to keep it, or empty for good.
///
/// A record is its version in 8 bytes, and then the value. Answers 1 when it is written, else the
/// record, or false, and the time.
const SWAP: &str = "\
local record = redis.call('GETEX', KEYS[1])
local version = record and string.sub(record, 1, 8) or ''
if version == ARGV[2] then return 1 end
if version ~= ARGV[1] then
  local time = redis.call('TIME')
  return {record, time[1], time[2]}
end
if ARGV[4] == '' then
  redis.call('SET', KEYS[1], ARGV[2] .. ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[2] .. ARGV[3], 'PX', ARGV[4])
end
return 1
";

/// KEYS: the group. ARGV: the member; for how long to keep it, or empty for good.
///
/// Members that have ended are removed, so a group stays as small as it can be. The group itself
/// lives as long as the member that lives longest.
const JOIN: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now))
if ARGV[2] == '' then
  redis.call('ZADD', KEYS[1], 'GT', '+inf', ARGV[1])
  redis.call('PERSIST', KEYS[1])
  return 1
end
local left = redis.call('PTTL', KEYS[1])
redis.call('ZADD', KEYS[1], 'GT', string.format('%.0f', now + ARGV[2]), ARGV[1])
if left == -2 or (left >= 0 and left < tonumber(ARGV[2])) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
";

/// KEYS: the group. Answers the members that have not ended.
const MEMBERS: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. string.format('%.0f', now))
return redis.call('ZRANGE', KEYS[1], 0, -1)
";

/// KEYS: the stream, the id of its last entry, the entries, their ends. ARGV: how far back the
/// stream goes; how many entries it has at most; then for each entry its id, its value, and for how
/// long to keep it, or empty for good.
///
/// Each entry of the stream names the one before it. A follower that gets an entry whose
/// predecessor is not the last one that it has seen has missed something, whatever the reason:
/// entries were trimmed, the stream was lost, or a replica that lacked the last entries took over.
const PUBLISH: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local last = redis.call('GET', KEYS[2]) or '0-0'
for at = 3, #ARGV, 3 do
  last = redis.call('XADD', KEYS[1], '*', 'v', ARGV[at + 1], 'p', last)
  redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 1])
  local ends = '+inf'
  if ARGV[at + 2] ~= '' then ends = string.format('%.0f', now + ARGV[at + 2]) end
  redis.call('ZADD', KEYS[4], ends, ARGV[at])
end
redis.call('SET', KEYS[2], last)
redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', now - ARGV[1]))
redis.call('XTRIM', KEYS[1], 'MAXLEN', '~', ARGV[2])
return 1
";

/// KEYS: the entries, their ends. ARGV: how many to remove at most. Answers how many it removed.
const EXPIRE_ENTRIES: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ended = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.0f', now), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ended) do
  redis.call('HDEL', KEYS[1], id)
  redis.call('ZREM', KEYS[2], id)
end
return #ended
";

/// KEYS: the ids, the due times. ARGV: the id; how long from now it is due.
const ADD_ID: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], 0, ARGV[1])
redis.call('ZADD', KEYS[2], 'GT', string.format('%.0f', now + ARGV[2]), ARGV[1])
return 1
";

/// KEYS: the due times. ARGV: how many at most. Answers ids that are due, each followed by the time
/// when it became due. The ids are only read, so the removal of an id that nobody has makes it a
/// write.
const DUE_IDS: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREM', KEYS[1], '')
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now), 'WITHSCORES', 'LIMIT', 0, ARGV[1])
";

/// KEYS: the ids, the due times. ARGV: for each id the id, the time when it became due, and how
/// long from now it is due again, or empty if its record is gone.
///
/// An id that was added again in the meantime has another due time, and is left alone.
const SETTLE_IDS: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for at = 1, #ARGV, 3 do
  if redis.call('ZSCORE', KEYS[2], ARGV[at]) == ARGV[at + 1] then
    if ARGV[at + 2] == '' then
      redis.call('ZREM', KEYS[1], ARGV[at])
      redis.call('ZREM', KEYS[2], ARGV[at])
    else
      redis.call('ZADD', KEYS[2], string.format('%.0f', now + ARGV[at + 2]), ARGV[at])
    end
  end
end
return 1
";
