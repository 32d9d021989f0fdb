//! The table of `help`, in the order of the commands.

use super::{CommandHelp, HelpTerms};

const STATUS: &str = "Exit status";
const FILES: &str = "Files";
const ENVIRONMENT: &str = "Environment";

/// Of a command that reads nothing but its arguments.
const PLAIN: HelpTerms = &[("0", "done"), ("1", "it failed"), ("2", "wrong arguments")];
/// Of a command that reads the configuration.
const CONFIGURED: HelpTerms =
    &[("0", "done"), ("1", "it failed"), ("2", "wrong arguments"), ("78", "wrong configuration")];
/// Of a command that the running gateway carries out.
const REMOTE: HelpTerms = &[
    ("0", "done"),
    ("1", "refused, or no gateway answers"),
    ("2", "wrong arguments"),
    ("78", "the configuration does not say where the state folder is"),
];
const SOCKET: HelpTerms =
    &[("state/admin.sock", "where the running gateway is asked; --state DIR names the folder")];
const USERS_FILE: HelpTerms =
    &[("users.toml", "the `path` of the [[users]] section; a running gateway sees changes in 5 s")];

/// Of a command that the running gateway carries out, and that needs no more words.
const fn remote(command: &'static str, examples: HelpTerms) -> CommandHelp {
    CommandHelp { command, examples, sections: &[(STATUS, REMOTE), (FILES, SOCKET)] }
}

/// Of a command that changes the users file.
const fn users(command: &'static str, examples: HelpTerms) -> CommandHelp {
    CommandHelp { command, examples, sections: &[(STATUS, CONFIGURED), (FILES, USERS_FILE)] }
}

const fn plain(command: &'static str, examples: HelpTerms) -> CommandHelp {
    CommandHelp { command, examples, sections: &[(STATUS, PLAIN)] }
}

const fn configured(command: &'static str, examples: HelpTerms) -> CommandHelp {
    CommandHelp { command, examples, sections: &[(STATUS, CONFIGURED)] }
}

const MOVE_OUT: HelpTerms =
    &[("tollhouse store export store.export --seal seal.key", "no gateway may run on it")];
const MOVE_IN: HelpTerms =
    &[("tollhouse store import store.export --seal seal.key", "into an empty store")];

/// The help of every command.
pub(super) const ALL: &[CommandHelp] = &[
    PROGRAM,
    RUN,
    CHECK,
    configured(
        "explain",
        &[
            ("tollhouse explain GET /api/orders", "which route, and what is missing"),
            (
                "tollhouse explain GET /api/orders --as ann --from 203.0.113.7",
                "as though logged in",
            ),
            (
                "tollhouse explain GET https://api.example/api/orders --token - --live < token",
                "what the running gateway would do",
            ),
            ("tollhouse explain POST /api/orders -H Content-Length:12 --as ann --format json", ""),
        ],
    ),
    configured(
        "user",
        &[
            ("tollhouse user add zoe --role admin < new-password", "a new user"),
            ("tollhouse user list", "all of the file"),
            ("tollhouse user totp ann", "a second step, as a QR code"),
        ],
    ),
    users(
        "user add",
        &[
            (
                "tollhouse user add ben --role admin --email ben@example.com",
                "the password is asked for",
            ),
            (
                "tollhouse user add ivy --scope read --claim tenant=acme < new-password",
                "or comes from a file",
            ),
        ],
    ),
    users("user passwd", &[("tollhouse user passwd ann < new-password", "their sessions end")]),
    users(
        "user list",
        &[("tollhouse user list", ""), ("tollhouse user list --format json", "a user a line")],
    ),
    users("user remove", &[("tollhouse user remove eve --yes", "without being asked")]),
    users("user disable", &[("tollhouse user disable bob", "their sessions end, too")]),
    users("user enable", &[("tollhouse user enable bob", "")]),
    remote(
        "user totp",
        &[
            ("tollhouse user totp ann --replace", "another secret"),
            ("tollhouse user totp ann --remove", "the telephone is lost"),
        ],
    ),
    remote(
        "user imported",
        &[
            ("tollhouse user imported", "of every source"),
            ("tollhouse user --source legacy imported --format json", "of one, for a program"),
        ],
    ),
    plain(
        "hash",
        &[
            ("tollhouse hash < new-password", "for a users file written by hand"),
            ("echo secret | tollhouse hash --any", "a password that is there already"),
        ],
    ),
    remote("key", &[("tollhouse key list", "what signs now, and what is next")]),
    remote(
        "key list",
        &[("tollhouse key list", ""), ("tollhouse key list --format json", "a key a line")],
    ),
    remote(
        "key rotate",
        &[
            ("tollhouse key rotate", "of every algorithm in use"),
            ("tollhouse key rotate --algorithm RS256", "of one"),
        ],
    ),
    remote(
        "key revoke",
        &[(
            "tollhouse key revoke --yes \"$(tollhouse key list --json | jq -rs '.[-1].kid')\"",
            "the newest, and every token that it has signed",
        )],
    ),
    remote(
        "key import",
        &[("tollhouse key import legacy.pem --algorithm RS256", "it verifies tokens from now on")],
    ),
    remote("api-key", &[("tollhouse api-key new nightly --role export", "for gateway.toml")]),
    plain(
        "api-key new",
        &[
            (
                "tollhouse api-key new nightly --role export --expires 2027-03-31",
                "it is printed once",
            ),
            ("tollhouse api-key new monitor --scope introspect --network 10.0.0.0/8", ""),
        ],
    ),
    remote(
        "api-key list",
        &[("tollhouse api-key list", ""), ("tollhouse api-key list --format json", "a key a line")],
    ),
    remote("api-key revoke", &[("tollhouse api-key revoke nightly-job --yes", "at once")]),
    configured("token", &[("tollhouse token inspect < token", "header and claims, unverified")]),
    plain("token inspect", &[("tollhouse token inspect < token", "header and claims, unverified")]),
    remote(
        "token mint",
        &[(
            "TOKEN=$(tollhouse token mint ann --login native)",
            "for a script; its session is listed",
        )],
    ),
    remote("session", &[("tollhouse session list", "who is logged in")]),
    remote(
        "session list",
        &[
            ("tollhouse session list --user ann", ""),
            (
                "tollhouse session list --format json | jq -r .username | sort | uniq -c",
                "how many each has",
            ),
        ],
    ),
    remote(
        "session revoke",
        &[
            ("tollhouse session revoke --user ann", "all of a user"),
            ("tollhouse session revoke --all --yes", "everybody logs in again"),
        ],
    ),
    remote("limits", &[("tollhouse limits lift ann", "the account may be tried again")]),
    remote(
        "limits lift",
        &[
            ("tollhouse limits lift ann", "the account may be tried again"),
            ("tollhouse limits lift ann --format json", ""),
        ],
    ),
    plain("store", &[("tollhouse store seal-key", "32 bytes for `seal` in [store]")]),
    remote(
        "store backup",
        &[(
            "tollhouse store backup store-$(date +%F).redb",
            "while it runs; no file is overwritten",
        )],
    ),
    plain("store seal-key", &[("tollhouse store seal-key seal.key", "readable by this user only")]),
    configured("store export", MOVE_OUT),
    configured("store import", MOVE_IN),
    remote(
        "observe",
        &[
            ("tollhouse observe --top 5", "whom `enforce = true` would refuse"),
            ("tollhouse observe --format json --forget", "all of it, and begin anew"),
        ],
    ),
    remote("reload", &[("tollhouse check && tollhouse reload", "")]),
    remote(
        "status",
        &[("tollhouse status", ""), ("tollhouse status --format json | jq .ready", "")],
    ),
    remote("healthcheck", &[("tollhouse healthcheck", "0 if it may be sent requests, else 1")]),
    INIT,
    configured("dialect", &[("tollhouse dialect list", "what can be spoken")]),
    configured(
        "dialect list",
        &[
            ("tollhouse dialect list", ""),
            ("tollhouse dialect list --format json", "a dialect a line"),
        ],
    ),
    configured(
        "dialect show",
        &[("tollhouse dialect show webitel > own.toml", "to begin one's own with")],
    ),
    configured(
        "dialect try",
        &[(
            "tollhouse dialect try nomic https://legacy.example --user ann",
            "the password is asked for; each step is shown, secrets are not",
        )],
    ),
    configured(
        "dialect test",
        &[
            ("tollhouse dialect test webitel", "the examples of a built-in dialect"),
            (
                "tollhouse dialect test webitel --json",
                "an object a line, with the reasons of refusals",
            ),
        ],
    ),
    plain(
        "schema",
        &[
            (
                "tollhouse schema > gateway.schema.json",
                "beside gateway.toml: editors complete its keys and explain them",
            ),
            ("tollhouse schema dialect > dialect.schema.json", "of a dialect of one's own"),
            ("tollhouse schema --format markdown", "every key, its type and its default"),
        ],
    ),
    plain(
        "completions",
        &[
            (
                "tollhouse completions bash > tollhouse.bash",
                "source it, or put it where bash looks",
            ),
            ("tollhouse completions zsh > _tollhouse", ""),
        ],
    ),
    plain(
        "man",
        &[
            ("tollhouse man > tollhouse.1", "then man -l tollhouse.1"),
            ("tollhouse man gateway.toml | grep -c servers", "the page of the configuration"),
            ("mkdir -p man1 && tollhouse man man1", "all pages"),
        ],
    ),
    plain("version", &[("tollhouse version", ""), ("tollhouse version --format json", "")]),
];

const PROGRAM: CommandHelp = CommandHelp {
    command: "",
    examples: &[
        ("tollhouse init && tollhouse", "answer a few questions, and serve"),
        ("tollhouse check", "what is wrong with gateway.toml"),
        ("tollhouse check --online", "and whether everybody whom it names answers"),
        ("tollhouse status", "the running gateway on one screen"),
        ("tollhouse session revoke --user ann", "end every session of a user"),
    ],
    sections: &[
        (
            STATUS,
            &[
                ("0", "done"),
                ("1", "failed"),
                ("2", "wrong arguments or TOLLHOUSE_LOG"),
                (
                    "69",
                    "(check --online) the file is fine, and somebody whom it names does not answer",
                ),
                ("78", "wrong configuration"),
            ],
        ),
        (
            "Signals",
            &[
                ("SIGTERM, SIGINT", "drain and end; a second one ends at once"),
                ("SIGQUIT", "ends at once"),
                ("SIGHUP", "reloads the configuration"),
                ("SIGUSR1", "reopens the logs"),
            ],
        ),
        (
            ENVIRONMENT,
            &[
                ("TOLLHOUSE_CONFIG", "the configuration, as --config"),
                (
                    "TOLLHOUSE_LOG",
                    "info, debug, or tollhouse::pipeline=debug,info, which explains each request",
                ),
                ("NO_COLOR", "no colour"),
            ],
        ),
        (
            FILES,
            &[
                ("gateway.toml", "the configuration; gateway.toml(5) explains it"),
                ("/etc/tollhouse/gateway.toml", "the same, where there is none in this folder"),
                ("state/", "keys, store, certificates and admin.sock ([state] dir)"),
            ],
        ),
    ],
};

const RUN: CommandHelp = CommandHelp {
    command: "run",
    examples: &[
        ("tollhouse run", "serve ./gateway.toml"),
        ("tollhouse -c gateway.toml run -v --log-format pretty", "with a line a request"),
        ("TOLLHOUSE_LOG=tollhouse::pipeline=debug,info tollhouse run", "with these lines alone"),
    ],
    sections: &[
        (
            STATUS,
            &[
                ("0", "drained and ended"),
                ("1", "it could not start, or failed"),
                ("2", "wrong arguments or TOLLHOUSE_LOG"),
                ("78", "wrong configuration"),
            ],
        ),
        (
            ENVIRONMENT,
            &[
                ("TOLLHOUSE_CONFIG", "the configuration, as --config"),
                ("TOLLHOUSE_LOG", "which diagnostics, before -v and -q"),
                (
                    "NOTIFY_SOCKET",
                    "where systemd is told of start, reload and end (WATCHDOG_USEC: and of life)",
                ),
                ("LISTEN_FDS", "sockets from systemd, for `address = \"fd:NAME\"`"),
            ],
        ),
        (FILES, &[("state/", "made by the first start: keys, store, certificates, admin.sock")]),
    ],
};

const CHECK: CommandHelp = CommandHelp {
    command: "check",
    examples: &[
        ("tollhouse check", "everything that is wrong with gateway.toml"),
        ("tollhouse -c gateway.toml check --print", "and what is in effect"),
        ("tollhouse check --format gnu", "a line a problem, for an editor"),
        ("tollhouse check --online --timeout 2s", "and whether everybody whom it names answers"),
    ],
    sections: &[
        (
            STATUS,
            &[
                ("0", "nothing is wrong; there may be warnings"),
                ("2", "wrong arguments"),
                ("69", "(--online) the file is fine, and somebody whom it names does not answer"),
                ("78", "wrong configuration"),
            ],
        ),
        (
            ENVIRONMENT,
            &[("NAME", "each variable that { env = \"NAME\" } names has to be set, as for run")],
        ),
    ],
};

const INIT: CommandHelp = CommandHelp {
    command: "init",
    examples: &[
        ("tollhouse init", "questions on the terminal"),
        ("tollhouse init --sample", "the complete sample, which runs as it is"),
        (
            "tollhouse -c try.toml init --upstream http://127.0.0.1:8080 --dialect native \\\n    \
             --users file --name localhost",
            "every answer a flag",
        ),
        (
            "tollhouse init --print --upstream http://10.0.0.5:8080 --dialect webitel \\\n    \
             --users legacy --legacy-url http://10.0.0.5:8080 --allow-http --name localhost",
            "the users of a legacy login, imported as they log in",
        ),
    ],
    sections: &[
        (
            STATUS,
            &[
                ("0", "written"),
                ("1", "a file is there already, or could not be written"),
                ("2", "wrong or missing flags"),
            ],
        ),
        (
            FILES,
            &[
                ("gateway.toml", "what is written; --config names another"),
                ("tollhouse.service.d/override.conf", "with --systemd"),
                ("compose.yaml", "with --compose"),
            ],
        ),
    ],
};
